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

const CONNECT_TIMEOUT_MS = 3_000;
const REQUEST_TIMEOUT_MS = 10_000;
export const CLOSE_LIMIT_MS = 6_000;
/** Retries of one request; beyond them the caller begins again with a new connection. */
export const RETRY = { initialRetryTime: 50, maxRetryTime: 1_000, retries: 6 };

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
export const kafkaError = (what: string, cause: unknown): FreshetError =>
  new FreshetError({
    code: 'kafka-unavailable',
    message: `${what}: ${describe(cause)}`,
    hint: 'Is the broker up, does FRESHET_KAFKA_BROKERS name it as it names itself, and does it ask for TLS or a password (FRESHET_KAFKA_TLS, FRESHET_KAFKA_SASL)?',
    retryable: true,
    cause,
  });

export async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof FreshetError ? error : kafkaError(what, error);
  }
}

export const within = (limitMs: number, work: Promise<unknown>): Promise<unknown> => {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise(resolve => {
    timer = setTimeout(resolve, limitMs);
  });
  return Promise.race([work, limit]).finally(() => clearTimeout(timer));
};

export const newKafka = ({ brokers, clientId, isEncrypted = false, sasl }: KafkaOptions): kafkajs.Kafka =>
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
