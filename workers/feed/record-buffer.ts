import type { KafkaRecord, OffsetRange } from '../../connectors/kafka-client.ts';
import type { OffsetSpan } from '../../connectors/kafka-consumer.ts';

/** Some records of one partition, in order. */
export interface Records {
  readonly partition: number;
  readonly records: readonly KafkaRecord[];
  /** When they came, by the clock on the wall: waiting here is the worker's time, not the connector's. */
  readonly receivedMs: number;
}

interface Partition {
  /** Offset that comes next. */
  expected: bigint;
  bytes: number;
  isPaused: boolean;
  lastAtMs: number;
}

export interface RecordBufferOptions {
  readonly pause: (partitions: readonly number[]) => void;
  readonly resume: (partitions: readonly number[]) => void;
}

/** Kept of one partition while the consumer is busy: beyond the first it is paused, below the second it goes on. */
const PAUSE_ABOVE_BYTES = 16 * 1024 * 1024;
const RESUME_BELOW_BYTES = 8 * 1024 * 1024;
/** What a record takes besides key and value. */
const RECORD_BYTES = 400;

/** Records that came and were not asked for yet. Bounded by pausing, and without a hole by counting. */
export class RecordBuffer {
  readonly #options: RecordBufferOptions;
  readonly #partitions = new Map<number, Partition>();
  #waiting: Records[] = [];

  constructor(options: RecordBufferOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Expects these partitions, each from this offset on. */
  begin(starts: ReadonlyMap<number, bigint>): void {
    this.clear();
    for (const [partition, expected] of starts) {
      this.#partitions.set(partition, { expected, bytes: 0, isPaused: false, lastAtMs: performance.now() });
    }
  }

  clear(): void {
    this.#partitions.clear();
    this.#waiting = [];
  }

  /**
   * Returns what is missing before the records or among them, if something is: a client whose offset is not there any
   * more goes on elsewhere without a word.
   */
  add(partition: number, records: readonly KafkaRecord[], { first, last, count }: OffsetSpan): string | null {
    const state = this.#partitions.get(partition);
    if (!state || last < state.expected) return null;
    if (first !== state.expected) return `offset ${first} came where ${state.expected} was expected`;
    if (last - first >= BigInt(count)) return `${count} records came for offsets ${first} to ${last}`;
    state.expected = last + 1n;
    state.lastAtMs = performance.now();
    if (records.length === 0) return null;
    state.bytes += sizeOf(records);
    this.#waiting.push({ partition, records, receivedMs: Date.now() });
    if (!state.isPaused && state.bytes > PAUSE_ABOVE_BYTES) {
      state.isPaused = true;
      this.#options.pause([partition]);
    }
    return null;
  }

  /** The oldest records, `most` of them and what else came with them. */
  take(most: number): Records[] {
    const taken: Records[] = [];
    let count = 0;
    while (count < most && this.#waiting.length > 0) {
      const { partition, records, receivedMs } = this.#waiting[0]!;
      const part = records.slice(0, most - count);
      if (part.length === records.length) this.#waiting.shift();
      else this.#waiting[0] = { partition, records: records.slice(part.length), receivedMs };
      taken.push({ partition, records: part, receivedMs });
      count += part.length;
      this.#release(partition, part);
    }
    return taken;
  }

  #release(partition: number, records: readonly KafkaRecord[]): void {
    const state = this.#partitions.get(partition);
    if (!state) return;
    state.bytes -= sizeOf(records);
    if (!state.isPaused || state.bytes >= RESUME_BELOW_BYTES) return;
    state.isPaused = false;
    state.lastAtMs = performance.now();
    this.#options.resume([partition]);
  }

  /** A partition of which nothing has come since `sinceMs` (monotonic) though the topic holds more; null when none. */
  stuckSince(ranges: ReadonlyMap<number, OffsetRange>, sinceMs: number): number | null {
    for (const [partition, { expected, isPaused, lastAtMs }] of this.#partitions) {
      const { latest = 0n } = ranges.get(partition) ?? {};
      if (!isPaused && lastAtMs < sinceMs && latest > expected) return partition;
    }
    return null;
  }
}

const sizeOf = (records: readonly KafkaRecord[]): number =>
  records.reduce((sum, { key, value }) => sum + RECORD_BYTES + (key?.length ?? 0) + (value?.length ?? 0), 0);
