import { createRequire } from 'node:module';
import kafkajs from 'kafkajs';
import { describe, FreshetError } from '../shared/errors.ts';

/** One record of a topic, as it lies there. */
export interface KafkaRecord {
  readonly partition: number;
  /** Decimal, 64 bit. */
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>;
}

export interface KafkaOptions {
  /** `host:port`, each. */
  readonly brokers: readonly string[];
  readonly clientId: string;
  /** Over TLS; not unless said. */
  readonly isEncrypted?: boolean;
  /** Null or absent: the brokers are not told who asks. */
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  } | null;
}

/** First offset that is still there, and the one that the next record will get. */
export interface OffsetRange {
  readonly earliest: bigint;
  readonly latest: bigint;
}

export interface ConsumerOptions {
  readonly group: string;
  readonly topic: string;
  /** The group has handed out its partitions anew. Nothing is read of them before `start`. */
  readonly onAssigned: (partitions: readonly number[]) => void;
  /** In order; `count` counts what lies from the first to the last of them, records that brokers keep to themselves included. */
  readonly onRecords: (partition: number, records: readonly KafkaRecord[], count: number) => void;
  /** The consumer has ended by itself. */
  readonly onEnd: (error: FreshetError) => void;
}

const CONNECT_TIMEOUT_MS = 3_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** A worker that is not heard of for so long loses its partitions; brokers refuse less unless told otherwise. */
const SESSION_TIMEOUT_MS = 6_000;
const HEARTBEAT_EVERY_MS = 1_000;
const REBALANCE_TIMEOUT_MS = 10_000;
/** How long a broker may keep a fetch of an idle topic: also how late a paused partition may notice that it goes on. */
const FETCH_WAIT_MS = 250;
const FETCH_PARTITION_BYTES = 2 * 1024 * 1024;
const FETCH_BYTES = 16 * 1024 * 1024;
const METADATA_AGE_MS = 30_000;
const CLOSE_LIMIT_MS = 6_000;
/** Retries of one request; beyond them the caller begins again with a new connection. */
const RETRY = { initialRetryTime: 50, maxRetryTime: 1_000, retries: 6 };

tameTimer();

/**
 * kafkajs 2.2.4 arms a timer again for as long as a connection lives, with a delay in the past: a thousand wake-ups
 * a second, and a warning from Node. It is needed only while requests wait for their turn.
 */
function tameTimer(): void {
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
    prototype: { pending: unknown[]; scheduleCheckPendingRequests(): void };
  };
  const arm = RequestQueue.prototype.scheduleCheckPendingRequests;
  RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleCheckPendingRequests() {
    if (this.pending.length > 0) arm.call(this);
  };
}

/** What went wrong, in one form; nothing of it lasts, so everything may be tried again. */
const kafkaError = (what: string, cause: unknown): FreshetError =>
  new FreshetError({
    code: 'kafka-unavailable',
    message: `${what}: ${describe(cause)}`,
    hint: 'Is the broker up, does FRESHET_KAFKA_BROKERS name it as it names itself, and does it ask for TLS or a password (FRESHET_KAFKA_TLS, FRESHET_KAFKA_SASL)?',
    retryable: true,
    cause,
  });

const MOVES = ['ILLEGAL_GENERATION', 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID'];

/** Whether a request came too late: the group has begun to hand its partitions out anew. */
function isMove(error: unknown): boolean {
  const { type, cause } = error as { type?: string; cause?: unknown };
  return (type !== undefined && MOVES.includes(type)) || (cause instanceof Error && isMove(cause));
}

async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof FreshetError ? error : kafkaError(what, error);
  }
}

const within = (limitMs: number, work: Promise<unknown>): Promise<unknown> => {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise(resolve => {
    timer = setTimeout(resolve, limitMs);
  });
  return Promise.race([work, limit]).finally(() => clearTimeout(timer));
};

const newKafka = ({ brokers, clientId, isEncrypted = false, sasl }: KafkaOptions): kafkajs.Kafka =>
  new kafkajs.Kafka({
    brokers: [...brokers],
    clientId,
    ssl: isEncrypted,
    ...(sasl && { sasl: sasl as kafkajs.SASLOptions }),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: RETRY,
    // Whatever it would log ends in an error of ours.
    logLevel: kafkajs.logLevel.NOTHING,
  });

/** Where Kafka's own producers put a record with this key: murmur2, as Java's client computes it. */
export function partitionOfKey(key: Buffer, partitions: number): number {
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionId,
    leader: 0,
    partitionErrorCode: 0,
    replicas: [],
    isr: [],
  }));
  return kafkajs.Partitioners.DefaultPartitioner()({
    topic: '',
    partitionMetadata,
    message: { key, value: null },
  });
}

/** Questions about topics and groups, and their making. */
export class KafkaAdmin {
  readonly #admin: kafkajs.Admin;

  private constructor(admin: kafkajs.Admin) {
    this.#admin = admin;
  }

  /** @throws FreshetError `kafka-unavailable` (retryable). */
  static async open(options: KafkaOptions): Promise<KafkaAdmin> {
    const admin = newKafka(options).admin();
    await attempt(`no broker of ${options.brokers.join(', ')} answers`, () => admin.connect());
    return new KafkaAdmin(admin);
  }

  /** How many partitions a topic has; null where it does not exist. */
  partitions(topic: string): Promise<number | null> {
    return attempt(`topic ${topic} could not be described`, async () => {
      if (!(await this.#admin.listTopics()).includes(topic)) return null;
      const { topics } = await this.#admin.fetchTopicMetadata({ topics: [topic] });
      return topics[0]!.partitions.length;
    });
  }

  /** Settings of a topic by name, as the broker gives them. */
  topicConfig(topic: string): Promise<ReadonlyMap<string, string>> {
    return attempt(`the settings of topic ${topic} could not be read`, async () => {
      const { resources } = await this.#admin.describeConfigs({
        includeSynonyms: false,
        resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
      });
      return new Map(
        resources[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]),
      );
    });
  }

  /** False where it existed already. */
  createTopic(topic: string, partitions: number, config: Readonly<Record<string, string>>): Promise<boolean> {
    const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
    return attempt(`topic ${topic} could not be made`, () =>
      this.#admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: partitions, configEntries }],
      }),
    );
  }

  deleteTopic(topic: string): Promise<void> {
    return attempt(`topic ${topic} could not be deleted`, () =>
      this.#admin.deleteTopics({ topics: [topic] }),
    );
  }

  ranges(topic: string): Promise<ReadonlyMap<number, OffsetRange>> {
    return attempt(`the offsets of topic ${topic} could not be read`, async () => {
      const found = await this.#admin.fetchTopicOffsets(topic);
      return new Map(
        found.map(({ partition, low, high }) => [partition, { earliest: BigInt(low), latest: BigInt(high) }]),
      );
    });
  }

  /** What a group has committed, by partition; a partition is missing where nothing was. */
  committed(group: string, topic: string): Promise<ReadonlyMap<number, bigint>> {
    return attempt(`the offsets of group ${group} could not be read`, async () => {
      const [found] = await this.#admin.fetchOffsets({ groupId: group, topics: [topic] });
      const known = (found?.partitions ?? []).map(one => [one.partition, BigInt(one.offset)] as const);
      return new Map(known.filter(([, offset]) => offset >= 0n));
    });
  }

  /** Forgets a group's offsets; it must have no member. */
  deleteGroup(group: string): Promise<void> {
    return attempt(`group ${group} could not be deleted`, async () => {
      await this.#admin.deleteGroups([group]);
    });
  }

  /** Deletes what lies before an offset of a partition, as retention would. */
  deleteRecords(topic: string, partition: number, before: bigint): Promise<void> {
    return attempt(`records of topic ${topic} could not be deleted`, () =>
      this.#admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] }),
    );
  }

  async close(): Promise<void> {
    await within(
      CLOSE_LIMIT_MS,
      this.#admin.disconnect().catch(() => {}),
    );
  }
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
      // Before anything is fetched: this runs inside the client's own step.
      const partitions = (payload.memberAssignment[topic] ?? []).toSorted((a, b) => a - b);
      if (partitions.length > 0) joined.pause(partitions);
      onAssigned(partitions);
    });
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: false });
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: async ({ batch, resolveOffset }) => {
          const { messagesWithinOffset } = batch as unknown as { messagesWithinOffset: readonly unknown[] };
          const { partition } = batch;
          const records = batch.messages.map(({ offset, key, value, headers = {} }) => ({
            partition,
            offset,
            key,
            value,
            headers,
          }));
          onRecords(partition, records, messagesWithinOffset.length);
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
