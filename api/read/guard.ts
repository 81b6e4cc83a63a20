import { LRUCache } from 'lru-cache';
import type { LimitFunction } from 'p-limit';
import type pg from 'pg';
import type { Clock } from '../../shared/clock.ts';
import { FreshetError } from '../../shared/errors.ts';
import { checkRows, type RowCheck } from '../../shared/origin/read.ts';
import type { Entry } from '../../shared/protocol/entry.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import type { Freshness } from './freshness.ts';

export interface GuardOptions {
  /** Read-only sessions on the primary with the planner settings for digests. */
  readonly pool: pg.Pool;
  readonly clock: Clock;
  readonly freshness: Freshness;
  /** Bounds the statements under way; a whole fleet is GUARDED at once when a connector restarts. */
  readonly limit: LimitFunction;
  /** Rows that may wait for a statement before further ones are refused. */
  readonly mostWaiting: number;
}

export type Verdict = 'proven' | 'disproved';

interface Question {
  readonly key: readonly string[];
  readonly entry: Entry;
  readonly answers: { resolve: (verdict: Verdict) => void; reject: (error: unknown) => void }[];
}

/** Entries whose own proof is remembered; beyond it the least used are asked about again. */
const MOST_PROVEN = 100_000;
const ROWS_PER_STATEMENT = 500;

/**
 * The check of GUARDED mode: is the row still the version that was cached, in the same life of the database and
 * under the same definition? Asked for many rows of a table at once, once per entry.
 *
 * What it proves is this entry (its fill id), never its key: another process may have cached an older row since.
 */
export class Guard {
  readonly #options: GuardOptions;
  /** Fill id → until when (monotonic) the entry is proven. */
  readonly #proven = new LRUCache<string, number>({ max: MOST_PROVEN });
  /** Table → fill id → question that has not been sent yet. */
  readonly #pending = new Map<TableShape, Map<string, Question>>();
  #waiting = 0;
  #term = -1;

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** Whether `entry`, read by a command sent at `sentAtMs`, is covered by an earlier check of this very entry. */
  covers(entry: Entry, sentAtMs: number): boolean {
    this.#forgetOldTerm();
    const untilMs = this.#proven.get(entry.meta.fillId);
    return untilMs !== undefined && sentAtMs < untilMs;
  }

  /**
   * Asks the primary about one entry.
   * @throws FreshetError `overloaded` (retryable) beyond the bound, or why the database could not be asked.
   */
  check(table: TableShape, key: readonly string[], entry: Entry): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      let questions = this.#pending.get(table);
      const known = questions?.get(entry.meta.fillId);
      if (known) {
        known.answers.push({ resolve, reject });
        return;
      }
      if (this.#waiting >= this.#options.mostWaiting) {
        reject(overloaded(`${this.#waiting} rows wait for a check in the database`));
        return;
      }
      if (!questions) {
        questions = new Map();
        this.#pending.set(table, questions);
        setImmediate(() => void this.#options.limit(() => this.#ask(table)));
      }
      this.#waiting += 1;
      questions.set(entry.meta.fillId, { key, entry, answers: [{ resolve, reject }] });
    });
  }

  /** Everything asked about a table until now goes out together: whoever asks later waits for the next statement. */
  async #ask(table: TableShape): Promise<void> {
    const questions = [...(this.#pending.get(table)?.values() ?? [])];
    this.#pending.delete(table);
    for (let start = 0; start < questions.length; start += ROWS_PER_STATEMENT) {
      await this.#askSome(table, questions.slice(start, start + ROWS_PER_STATEMENT));
    }
  }

  async #askSome(table: TableShape, questions: readonly Question[]): Promise<void> {
    const { pool, clock, freshness } = this.#options;
    const term = freshness.term;
    try {
      const check = await checkRows(
        pool,
        table,
        questions.map(question => question.key),
        clock,
      );
      const untilMs = check.sentAtMs + freshness.maxStalenessMs;
      const late = clock.monotonicMs() >= untilMs || freshness.term !== term;
      this.#forgetOldTerm();
      questions.forEach(({ entry, answers }, i) => {
        const holds = matches(entry, check, check.xmins[i]!);
        if (holds && !late) this.#proven.set(entry.meta.fillId, untilMs);
        for (const { resolve } of answers) resolve(holds && !late ? 'proven' : 'disproved');
      });
    } catch (error) {
      for (const { answers } of questions) for (const { reject } of answers) reject(error);
    } finally {
      this.#waiting -= questions.length;
    }
  }

  #forgetOldTerm(): void {
    const { term } = this.#options.freshness;
    if (term === this.#term) return;
    this.#term = term;
    this.#proven.clear();
  }
}

function matches({ meta }: Entry, check: RowCheck, xmin: string | null): boolean {
  return (
    check.incarnation !== null &&
    meta.stamp.startsWith(`${check.incarnation} `) &&
    check.digest === meta.digest &&
    (meta.found ? xmin === meta.rowXmin : xmin === null)
  );
}

export const overloaded = (what: string): FreshetError =>
  new FreshetError({
    code: 'overloaded',
    message: `too much is asked of the database at once: ${what}`,
    hint: 'Try again in a moment.',
    retryable: true,
  });
