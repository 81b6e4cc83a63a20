import type { Beat, FeedItem, Gap } from './feed/feed.ts';

/** Writers remembered of a partition: those of the last few workers that led. */
const MOST_WRITERS = 8;

/**
 * The beats of one partition. Numbers run without a hole, from 1 for each writer; a hole is a stretch of the log
 * that never came.
 */
export class BeatTrack {
  /** Writer → number of its last beat received. */
  readonly #received: Map<string, number>;
  /** Writer → number of its last beat settled; the one heard of last stands last. */
  readonly #settled: Map<string, number>;
  /** Beats of before the gap may be delivered again, and where their numbers begin is not known any more. */
  #isAfterGap = false;

  /** `remembered`: what `text` gave, of the position from which the partition is followed. */
  constructor(remembered?: string) {
    const numbers = remembered === undefined ? [] : (JSON.parse(remembered) as [string, number][]);
    this.#received = new Map(numbers);
    this.#settled = new Map(numbers);
  }

  /** What came before is covered by a new epoch. */
  forgive(): void {
    this.#received.clear();
    this.#isAfterGap = true;
  }

  /** `incarnation`: the life of the database in which changes are followed. */
  receive({ beat, again }: FeedItem & { kind: 'beat' }, incarnation: string): Gap | null {
    const { writer, number } = beat;
    const last = this.#received.get(writer) ?? 0;
    this.#received.set(writer, Math.max(last, number));
    // Of writers before those that are remembered, only the end may be delivered again.
    if (again) return null;
    const isFirst = last === 0 && this.#isAfterGap;
    if (number > last + 1 && !isFirst) {
      return { cause: 'beat-missing', detail: `beat ${number} of writer ${writer} came after ${last}` };
    }
    // Behind the first beat of this life of the database, whatever is delivered again has been delivered.
    if (beat.incarnation === incarnation) this.#isAfterGap = false;
    else if (!this.#isAfterGap) {
      return {
        cause: 'other-incarnation',
        detail: `a beat was written in ${beat.incarnation ?? 'a database without its marker'}, changes were followed in ${incarnation}`,
      };
    }
    return null;
  }

  settle({ writer, number }: Beat): void {
    this.#settled.delete(writer);
    this.#settled.set(writer, number);
    if (this.#settled.size <= MOST_WRITERS) return;
    const [oldest] = this.#settled.keys();
    this.#settled.delete(oldest!);
  }

  /** To be remembered beside a position, as of the beats settled before it. */
  text(): string {
    return JSON.stringify([...this.#settled]);
  }
}
