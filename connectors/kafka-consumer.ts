import type kafkajs from 'kafkajs';
import { FreshetError } from '../shared/errors.ts';
import {
  CLOSE_LIMIT_MS,
  type KafkaOptions,
  type KafkaRecord,
  kafkaError,
  newKafka,
  RETRY,
  within,
} from './kafka-client.ts';

/** A stretch of a partition: its first and last offset, and how many records came of it. */
export interface OffsetSpan {
  readonly first: bigint;
  readonly last: bigint;
  readonly count: number;
}

export interface ConsumerOptions {
  readonly group: string;
  readonly topic: string;
  /** The group has handed out its partitions anew. Nothing is read of them before `start`. */
  readonly onAssigned: (partitions: readonly number[]) => void;
  /** In order; `span` is what they lie in, records that brokers keep to themselves included, and may hold none. */
  readonly onRecords: (partition: number, records: readonly KafkaRecord[], span: OffsetSpan) => void;
  /** The consumer has ended by itself. */
  readonly onEnd: (error: FreshetError) => void;
}

/** A worker that is not heard of for so long loses its partitions; brokers refuse less unless told otherwise. */
const SESSION_TIMEOUT_MS = 6_000;
const HEARTBEAT_EVERY_MS = 1_000;
const REBALANCE_TIMEOUT_MS = 10_000;
/** How long a broker may keep a fetch of an idle topic: also how late a paused partition may notice that it goes on. */
const FETCH_WAIT_MS = 250;
const FETCH_PARTITION_BYTES = 2 * 1024 * 1024;
const FETCH_BYTES = 16 * 1024 * 1024;
const METADATA_AGE_MS = 30_000;

const MOVES = ['ILLEGAL_GENERATION', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID'];

/** Whether a request came too late: the group has begun to hand its partitions out anew. */
function isMove(error: unknown): boolean {
  const { type, cause } = error as { type?: string; cause?: unknown };
  return (type !== undefined && MOVES.includes(type)) || (cause instanceof Error && isMove(cause));
}

/** A member of a consumer group. What it was given is read only from where it is told to start. */
export class KafkaConsumer {
  readonly #consumer: kafkajs.Consumer;
  readonly #topic: string;
  #isClosed = false;

  private constructor(consumer: kafkajs.Consumer, topic: string) {
    this.#consumer = consumer;
    this.#topic = topic;
  }

  /** Joins the group. @throws FreshetError `kafka-unavailable` (retryable). */
  static async join(kafka: KafkaOptions, options: ConsumerOptions): Promise<KafkaConsumer> {
    const { group, topic, onAssigned, onRecords, onEnd } = options;
    const consumer = newKafka(kafka).consumer({
      groupId: group,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_EVERY_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      minBytes: 1,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      maxBytesPerPartition: FETCH_PARTITION_BYTES,
      maxBytes: FETCH_BYTES,
      metadataMaxAge: METADATA_AGE_MS,
      // It would begin again by itself, somewhere: where it begins is decided elsewhere.
      retry: { ...RETRY, restartOnFailure: async () => false },
    });
    const joined = new KafkaConsumer(consumer, topic);
    const end = (what: string, cause: unknown): void => {
      if (!joined.#isClosed) onEnd(kafkaError(what, cause));
    };
    consumer.on(consumer.events.CRASH, ({ payload }) => end('the consumer ended', payload.error));
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      // A client that outlived its end still joins.
      if (joined.#isClosed) return;
      // Before anything is fetched: this runs inside the client's own step.
      const partitions = (payload.memberAssignment[topic] ?? []).toSorted((a, b) => a - b);
      if (partitions.length > 0) joined.pause(partitions);
      onAssigned(partitions);
    });
    consumer.on(consumer.events.START_BATCH_PROCESS, ({ payload }) => {
      // Markers of a producer's transactions alone: they are passed over, and no batch is handed out for them.
      if (joined.#isClosed || payload.batchSize > 0) return;
      const [first, last] = [BigInt(payload.firstOffset), BigInt(payload.lastOffset)];
      onRecords(payload.partition, [], { first, last, count: Number(last - first) + 1 });
    });
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: false });
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: async ({ batch, resolveOffset }) => {
          if (joined.#isClosed) return;
          const { messagesWithinOffset } = batch as unknown as { messagesWithinOffset: readonly unknown[] };
          const { partition } = batch;
          const records = batch.messages.map(({ offset, key, value, headers = {} }) => ({
            partition,
            offset,
            key,
            value,
            headers,
          }));
          const [first, last] = [BigInt(batch.firstOffset()!), BigInt(batch.lastOffset())];
          onRecords(partition, records, { first, last, count: messagesWithinOffset.length });
          resolveOffset(batch.lastOffset());
        },
      });
    } catch (error) {
      await joined.close();
      throw kafkaError(`group ${group} could not be joined`, error);
    }
    return joined;
  }

  /** Reads a partition from `offset` on. */
  start(partition: number, offset: bigint): void {
    this.#consumer.seek({ topic: this.#topic, partition, offset: String(offset) });
    this.resume([partition]);
  }

  pause(partitions: readonly number[]): void {
    this.#consumer.pause([{ topic: this.#topic, partitions: [...partitions] }]);
  }

  resume(partitions: readonly number[]): void {
    this.#consumer.resume([{ topic: this.#topic, partitions: [...partitions] }]);
  }

  /**
   * Commits, for each partition, the offset of the first record that is not done.
   * @throws FreshetError `group-moved` (retryable) while the group hands its partitions out anew.
   */
  async commit(offsets: ReadonlyMap<number, string>): Promise<void> {
    const topic = this.#topic;
    try {
      await this.#consumer.commitOffsets(
        [...offsets].map(([partition, offset]) => ({ topic, partition, offset })),
      );
    } catch (error) {
      const failure = kafkaError('offsets could not be committed', error);
      if (!isMove(error)) throw failure;
      throw new FreshetError({
        code: 'group-moved',
        message: failure.message,
        retryable: true,
        cause: error,
      });
    }
  }

  /** Leaves the group: its partitions are given to others at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await within(
      CLOSE_LIMIT_MS,
      this.#consumer.disconnect().catch(() => {}),
    );
  }
}
