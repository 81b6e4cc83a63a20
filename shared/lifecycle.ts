import { FreshetError } from './errors.ts';

interface Closer {
  readonly name: string;
  readonly close: () => Promise<unknown> | unknown;
}

/**
 * What was opened, to be closed in the opposite order. A closer that hangs or throws never keeps the others
 * from running: its trouble is reported at the end.
 */
export class Lifecycle {
  #closers: Closer[] = [];
  #closing: Promise<void> | undefined;

  /** Remembers how to close `name`; returns nothing so that it reads as a statement. */
  onClose(name: string, close: () => Promise<unknown> | unknown): void {
    this.#closers.push({ name, close });
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /** Closes everything once, last opened first. `limitMs` bounds each closer. */
  close(limitMs = 5_000): Promise<void> {
    this.#closing ??= this.#closeAll(limitMs);
    return this.#closing;
  }

  async #closeAll(limitMs: number): Promise<void> {
    const troubles: Error[] = [];
    for (const { name, close } of this.#closers.toReversed()) {
      let timer: NodeJS.Timeout | undefined;
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () =>
            reject(
              new FreshetError({
                code: 'close-timeout',
                message: `${name} did not close within ${limitMs} ms`,
              }),
            ),
          limitMs,
        );
      });
      try {
        await Promise.race([close(), limit]);
      } catch (error) {
        troubles.push(error instanceof Error ? error : new Error(String(error)));
      } finally {
        clearTimeout(timer);
      }
    }
    this.#closers = [];
    if (troubles.length > 0) throw new AggregateError(troubles, 'not everything closed cleanly');
  }
}
