import type pg from 'pg';

/** One statement whose answer the test keeps to itself. */
export interface Held {
  /** Resolves when Postgres has answered. */
  readonly answered: Promise<void>;
  /** Lets the asker have it. */
  release(): void;
}

export interface HeldPool {
  /** The same sessions; only `query` goes through here. */
  readonly pool: pg.Pool;
  /** Texts of the statements sent so far, oldest first. */
  readonly statements: readonly string[];
  /** Withholds the answer of the next statement: the asker is slow, Postgres was not. */
  holdNext(): Held;
}

interface Gate {
  readonly held: Held;
  readonly answer: () => void;
  readonly released: Promise<void>;
}

/** A real pool between whose answer and its asker the test can put anything that takes time. */
export function holdable(real: pg.Pool): HeldPool {
  const statements: string[] = [];
  const gates: Gate[] = [];

  async function query(config: string | pg.QueryConfig, values?: unknown[]): Promise<unknown> {
    statements.push(typeof config === 'string' ? config : config.text);
    const gate = gates.shift();
    const answer = await real.query(config as pg.QueryConfig, values);
    gate?.answer();
    await gate?.released;
    return answer;
  }

  return {
    pool: { query } as unknown as pg.Pool,
    statements,
    holdNext() {
      const answered = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      const held = { answered: answered.promise, release: () => released.resolve() };
      gates.push({ held, answer: () => answered.resolve(), released: released.promise });
      return held;
    },
  };
}
