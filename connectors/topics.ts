import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError, isRetryable } from '../shared/errors.ts';
import type { KafkaAdmin } from './kafka-client.ts';
import type { KafkaNames } from './names.ts';

/** What is asked of Kafka here. */
export type TopicAdmin = Pick<KafkaAdmin, 'partitions' | 'topicConfig' | 'createTopic'>;

export interface TopicOptions {
  /** Of the topic of changes; fixed once it exists, because a key's partition follows from their number. */
  readonly partitions?: number | undefined;
  readonly retentionMs?: number | undefined;
}

export const DEFAULT_PARTITIONS = 4;
/** A worker that was away for longer begins with a new epoch. */
export const DEFAULT_RETENTION_MS = 24 * 3_600_000;
/** The largest change as JSON, both images together; the connector's `max.request.size` agrees with it. */
export const LARGEST_MESSAGE_BYTES = 32 * 1024 * 1024;
const HEARTBEAT_RETENTION_MS = 3_600_000;
const APPEARS_LIMIT_MS = 5_000;
const LOOK_EVERY_MS = 50;
/** Codings that the workers can read. */
const READABLE_CODINGS = ['producer', 'uncompressed', 'gzip'];

interface Topic {
  readonly name: string;
  readonly partitions: number;
  readonly settings: Readonly<Record<string, string>>;
}

const topicsOf = (names: KafkaNames, options: TopicOptions): readonly Topic[] => [
  {
    name: names.topic,
    partitions: options.partitions ?? DEFAULT_PARTITIONS,
    settings: {
      'cleanup.policy': 'delete',
      'retention.ms': String(options.retentionMs ?? DEFAULT_RETENTION_MS),
      'max.message.bytes': String(LARGEST_MESSAGE_BYTES),
    },
  },
  {
    name: names.heartbeatTopic,
    partitions: 1,
    settings: { 'cleanup.policy': 'delete', 'retention.ms': String(HEARTBEAT_RETENTION_MS) },
  },
];

/**
 * The topics of the connector, made where they are missing: brokers are not relied on to make them, and a consumer
 * that subscribes to a missing one fails.
 * @throws FreshetError `topic-mismatch` when one that exists cannot carry the changes.
 */
export async function ensureTopics(
  admin: TopicAdmin,
  names: KafkaNames,
  options: TopicOptions,
  say: (line: string) => void,
): Promise<void> {
  for (const topic of topicsOf(names, options)) {
    const { name, partitions } = topic;
    if ((await admin.partitions(name)) === null && (await make(admin, topic)))
      say(`made the topic ${name}, ${partitions} partition${partitions === 1 ? '' : 's'}`);
    else await check(admin, topic);
  }
}

/** False where somebody else was faster. */
async function make(admin: TopicAdmin, { name, partitions, settings }: Topic): Promise<boolean> {
  try {
    return await admin.createTopic(name, partitions, settings);
  } catch (error) {
    // A broker may tell of a topic that it knows nothing of it yet.
    if (!isRetryable(error) || !(await appears(admin, name))) throw error;
    return true;
  }
}

async function appears(admin: TopicAdmin, name: string): Promise<boolean> {
  for (
    const until = performance.now() + APPEARS_LIMIT_MS;
    performance.now() < until;
    await delay(LOOK_EVERY_MS)
  )
    if ((await admin.partitions(name).catch(() => null)) !== null) return true;
  return false;
}

async function check(admin: TopicAdmin, { name, partitions, settings }: Topic): Promise<void> {
  const refuse = (what: string, hint: string): never => {
    throw new FreshetError({ code: 'topic-mismatch', message: `topic ${name} ${what}`, hint });
  };
  const change = (setting: string, value: string): string =>
    `Change it: kafka-configs.sh --alter --entity-type topics --entity-name ${name} --add-config ${setting}=${value}`;

  const found = await admin.partitions(name);
  if (found !== partitions) {
    refuse(
      `has ${found} partitions, expected ${partitions}`,
      `Ask for ${found}; or delete the topic while the connector and all workers are stopped, and it is made anew.`,
    );
  }
  const actual = await admin.topicConfig(name);
  const policy = actual.get('cleanup.policy') ?? '';
  if (policy.includes('compact')) {
    refuse(
      `has cleanup.policy=${policy}: compaction drops changes and beats that no worker has seen yet`,
      change('cleanup.policy', 'delete'),
    );
  }
  const coding = actual.get('compression.type') ?? 'producer';
  if (!READABLE_CODINGS.includes(coding)) {
    refuse(
      `has compression.type=${coding}, which the workers cannot read`,
      change('compression.type', 'producer'),
    );
  }
  const neededBytes = settings['max.message.bytes'] ?? '0';
  const takenBytes = actual.get('max.message.bytes') ?? neededBytes;
  if (Number(takenBytes) < Number(neededBytes)) {
    refuse(
      `takes messages of up to ${takenBytes} bytes: the change of a large row would stop the connector for good`,
      change('max.message.bytes', neededBytes),
    );
  }
}
