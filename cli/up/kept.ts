import { setTimeout as delay } from 'node:timers/promises';
import { describe } from '../../shared/errors.ts';

/** Something that runs in a process of its own and can be told to end. */
export interface Running {
  readonly pid: number;
  /** Resolves with how it ended, whoever ended it. */
  readonly exited: Promise<string>;
  stop(): Promise<void>;
  /** At once, without order. */
  kill(): Promise<void>;
}

export interface KeptOptions<T extends Running> {
  readonly name: string;
  /** Starts it and resolves when it does its work. `before` is the one that ended. */
  readonly start: (before: T | null) => Promise<T>;
  /** It runs again, perhaps under other numbers. */
  readonly onRestart: () => void;
  readonly say: (line: string) => void;
}

const firstWaitMs = 200;
const longestWaitMs = 10_000;
/** After this long a run counts as a good one, and the waits begin anew. */
const goodRunMs = 30_000;

/** Keeps something running: what ends by itself is started again, after waits that grow to ten seconds. */
export class Kept<T extends Running> {
  readonly #options: KeptOptions<T>;
  readonly #ending = new AbortController();
  #current: T | null = null;
  #keeping: Promise<void> = Promise.resolve();

  private constructor(options: KeptOptions<T>) {
    this.#options = options;
  }

  /** The first start is not tried again: what is wrong then is for people to see. */
  static async start<T extends Running>(options: KeptOptions<T>): Promise<Kept<T>> {
    const kept = new Kept(options);
    const first = await options.start(null);
    kept.#current = first;
    kept.#keeping = kept.#keep(first);
    return kept;
  }

  get name(): string {
    return this.#options.name;
  }

  /** What runs now; null between an end and the next start. */
  get current(): T | null {
    return this.#current;
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#current?.stop();
    await this.#keeping;
  }

  async kill(): Promise<void> {
    this.#ending.abort();
    await this.#current?.kill();
  }

  async #keep(first: T): Promise<void> {
    const { name, say } = this.#options;
    let waitMs = firstWaitMs;
    for (let running = first; ; ) {
      const since = performance.now();
      const how = await running.exited;
      if (this.#ending.signal.aborted) return;
      this.#current = null;
      say(`${name} ended by itself (${how}): starting it again`);
      if (performance.now() - since > goodRunMs) waitMs = firstWaitMs;
      const next = await this.#startAgain(running, waitMs);
      if (!next) return;
      ({ running, waitMs } = next);
    }
  }

  /** Tries until it runs; null when the end came first. */
  async #startAgain(before: T, firstWait: number): Promise<{ running: T; waitMs: number } | null> {
    const { name, start, say, onRestart } = this.#options;
    for (let waitMs = firstWait; ; ) {
      await delay(waitMs, null, { signal: this.#ending.signal }).catch(() => {});
      if (this.#ending.signal.aborted) return null;
      waitMs = Math.min(waitMs * 2, longestWaitMs);
      try {
        const running = await start(before);
        if (this.#ending.signal.aborted) {
          await running.stop();
          return null;
        }
        this.#current = running;
        say(`${name} runs again`);
        onRestart();
        return { running, waitMs };
      } catch (error) {
        say(`${name} did not start, next try in ${waitMs / 1000} s: ${describe(error)}`);
      }
    }
  }
}
