/** What a path answers: the body of a 200, or null where there is no such row. */
export type Shown = string | null;

interface State {
  readonly shown: Shown;
  /** Of its writer, by the monotonic clock: from then on somebody may see it, and from then on everybody has to. */
  readonly sentMs: number;
  acknowledgedMs: number;
}

/**
 * Everything that was ever written, path by path, each path by one writer at a time. Bodies describe themselves, so
 * that an answer tells which state it is.
 */
export class History {
  readonly #states = new Map<string, State[]>();

  constructor(initial: Readonly<Record<string, Shown>> = {}) {
    for (const [path, shown] of Object.entries(initial)) {
      this.#states.set(path, [{ shown, sentMs: -Infinity, acknowledgedMs: -Infinity }]);
    }
  }

  get paths(): readonly string[] {
    return [...this.#states.keys()];
  }

  /** How many states were written since the beginning. */
  get writes(): number {
    return this.#states.values().reduce((sum, states) => sum + states.length - 1, 0);
  }

  newest(path: string): Shown {
    return this.#states.get(path)!.at(-1)!.shown;
  }

  /** `work` commits these states, all in one transaction. Where it fails nobody knows whether they came to be. */
  async write<T>(changes: Readonly<Record<string, Shown>>, work: () => Promise<T>): Promise<T> {
    const sentMs = performance.now();
    const begun = Object.entries(changes).map(([path, shown]) => {
      const state: State = { shown, sentMs, acknowledgedMs: Infinity };
      this.#states.get(path)!.push(state);
      return state;
    });
    const result = await work();
    const nowMs = performance.now();
    for (const state of begun) state.acknowledgedMs = nowMs;
    return result;
  }

  /**
   * How long before a read was sent its answer was certainly overtaken: what came next had been acknowledged. 0: it
   * may have been current. Null: nobody ever wrote that. To be asked when the answer comes, not later.
   */
  staleness(path: string, sentMs: number, shown: Shown): number | null {
    const states = this.#states.get(path)!;
    const last = states.findLastIndex(state => state.shown === shown);
    if (last < 0) return null;
    return Math.max(0, sentMs - (states[last + 1]?.acknowledgedMs ?? Infinity));
  }
}
