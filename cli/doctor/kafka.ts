import { kafkaOptions } from '../../connectors/kafka-options.ts';
import { type KafkaNames, kafkaNames } from '../../connectors/names.ts';
import { readTrace } from '../../connectors/task-trouble.ts';
import { ensureTopics, type TopicAdmin } from '../../connectors/topics.ts';
import type { Settings } from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import { type Finding, good, missing, note } from '../../shared/origin/examine/finding.ts';
import { type Group, lookAt } from './group.ts';
import type { Targets } from './targets.ts';

const REGISTER = '`freshet connector register` makes it what it should be.';

/** Brokers with the topic, and Connect with the connector; nothing where another feed is chosen. */
export async function examineKafka(targets: Targets, settings: Settings): Promise<Group[]> {
  if (targets.feed !== 'kafka') return [];
  const names = kafkaNames(settings.namespace);
  return [
    await lookAt('Kafka', () => lookAtTopics(targets, settings, names)),
    await lookAt('Kafka Connect', () => lookAtConnector(targets, names)),
  ];
}

const CEILING = note(
  'one connector carries 15,000 to 20,000 changes a second, whatever the number of workers',
  {
    why: 'Beyond it: FRESHET_FEED=wal (62,000 and more); or a connector for each group of tables, each with a publication of its own, which is not set up by itself.',
  },
);

async function lookAtTopics(
  { kafkaBrokers }: Targets,
  settings: Settings,
  names: KafkaNames,
): Promise<Finding[]> {
  if (kafkaBrokers === null)
    return [note('FRESHET_KAFKA_BROKERS is not set: local ones are started'), CEILING];
  // Large, and only this feed needs it.
  const { KafkaAdmin } = await import('../../connectors/kafka-client.ts');
  const admin = await KafkaAdmin.open(kafkaOptions(kafkaBrokers, settings, 'freshet-doctor'));
  try {
    const onlyLooking: TopicAdmin = {
      partitions: topic => admin.partitions(topic),
      topicConfig: topic => admin.topicConfig(topic),
      createTopic: topic => Promise.reject(topicMissing(topic)),
    };
    await ensureTopics(onlyLooking, names, { partitions: settings.kafkaPartitions }, () => {});
    const [ranges, committed] = await Promise.all([
      admin.ranges(names.topic),
      admin.committed(names.group, names.topic),
    ]);
    const behind = [...ranges].map(
      ([partition, { latest }]) => latest - (committed.get(partition) ?? latest),
    );
    const total = behind.reduce((sum, one) => sum + one, 0n);
    const group =
      committed.size === 0
        ? `group ${names.group} has committed nothing yet`
        : `group ${names.group} is ${total} records behind`;
    return [good(`topic ${names.topic}, ${ranges.size} partitions; ${group}`), CEILING];
  } finally {
    await admin.close();
  }
}

const topicMissing = (topic: string): FreshetError =>
  new FreshetError({
    code: 'topic-missing',
    message: `there is no topic ${topic}`,
    hint: REGISTER,
  });

async function lookAtConnector({ connectUrl, databaseUrl }: Targets, names: KafkaNames): Promise<Finding[]> {
  if (connectUrl === null) {
    return [
      note('FRESHET_CONNECT_URL is not set', {
        why: 'Beside brokers of your own nobody then restarts a task that fails, or makes a lost slot anew.',
      }),
    ];
  }
  const { ConnectClient } = await import('../../connectors/connect-client.ts');
  const client = new ConnectClient({ url: connectUrl });
  const config = await client.config(names.connector);
  if (config === null)
    return [missing(`Kafka Connect knows no connector ${names.connector}`, { mend: REGISTER })];
  const wanted = {
    'slot.name': names.slot,
    'publication.name': names.publication,
    'topic.prefix': names.topicPrefix,
    'database.dbname': decodeURIComponent(new URL(databaseUrl).pathname.slice(1)),
  };
  const differing = Object.entries(wanted)
    .filter(([name, value]) => config[name] !== value)
    .map(([name, value]) =>
      missing(`connector ${names.connector} has ${name}=${config[name] ?? '(none)'}, expected ${value}`, {
        mend: REGISTER,
      }),
    );
  return [...differing, ...stateFindings(names, await client.state(names.connector))];
}

function stateFindings(
  { connector }: KafkaNames,
  state: { connector: string; task: string | null; trace: string | null } | null,
): Finding[] {
  const task = state?.task ?? 'none';
  if (state?.connector === 'RUNNING' && task === 'RUNNING')
    return [good(`connector ${connector} and its task are RUNNING`)];
  const trouble = state?.trace ? readTrace(state.trace) : null;
  return [
    missing(`connector ${connector} is ${state?.connector ?? 'not started'}, its task ${task}`, {
      why: trouble?.message ?? null,
      mend:
        trouble?.hint ??
        '`freshet connector restart` starts it again; a worker that leads does so by itself.',
    }),
  ];
}
