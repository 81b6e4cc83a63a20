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
  /** Beats of the life before may be delivered again. */
  #isAfterGap = false;
  /** Followed from a place of which nothing is remembered: where numbers go on is not known. */
  #isAfterJump = false;

  /** `remembered`: what `text` gave, of the position from which the partition is followed. */
  constructor(remembered?: string) {
    const numbers = remembered === undefined ? [] : (JSON.parse(remembered) as [string, number][]);
    this.#received = new Map(numbers);
    this.#settled = new Map(numbers);
  }

  /**
   * What came before is covered by a new epoch. Numbers that are known go on where they were: the next hole may be
   * right behind it. Where none is, the first of each writer may be any.
   */
  forgive(): void {
    this.#isAfterGap = true;
    this.#isAfterJump = this.#received.size === 0;
  }

  /** `incarnation`: the life of the database in which changes are followed. */
  receive({ beat, again }: FeedItem & { kind: 'beat' }, incarnation: string): Gap | null {
    const { writer, number } = beat;
    const last = this.#received.get(writer) ?? 0;
    this.#received.set(writer, Math.max(last, number));
    // Of writers before those that are remembered, only the end may be delivered again.
    if (again) return null;
    const isFirst = last === 0 && this.#isAfterJump;
    if (number > last + 1 && !isFirst) {
      return { cause: 'beat-missing', detail: `beat ${number} of writer ${writer} came after ${last}` };
    }
    // Behind the first beat of this life of the database, whatever is delivered again has been delivered.
    if (beat.incarnation === incarnation) {
      this.#isAfterGap = false;
      this.#isAfterJump = false;
    } else if (!this.#isAfterGap) {
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
