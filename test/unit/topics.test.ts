import { describe, expect, test } from '@jest/globals';
import { kafkaNames } from '../../connectors/names.ts';
import { ensureTopics, type TopicAdmin } from '../../connectors/topics.ts';
import { FreshetError } from '../../shared/errors.ts';

interface Topic {
  readonly partitions: number;
  readonly settings: Readonly<Record<string, string>>;
}

const names = kafkaNames(null);

/** Kafka, as far as it is asked. */
function broker(topics: Record<string, Topic> = {}) {
  const admin: TopicAdmin = {
    partitions: async name => topics[name]?.partitions ?? null,
    topicConfig: async name => new Map(Object.entries(topics[name]!.settings)),
    async createTopic(name, partitions, settings) {
      if (topics[name]) return false;
      topics[name] = { partitions, settings };
      return true;
    },
  };
  return { admin, topics };
}
const good = (over: Partial<Topic> = {}): Topic => ({
  partitions: 4,
  settings: { 'cleanup.policy': 'delete', 'compression.type': 'producer', 'max.message.bytes': '33554432' },
  ...over,
});
const ensure = (admin: TopicAdmin, partitions?: number) =>
  ensureTopics(admin, names, { partitions }, () => {});

describe('the topics of the connector', () => {
  test('are made where they are missing, and said so', async () => {
    const { admin, topics } = broker();
    const said: string[] = [];
    await ensureTopics(admin, names, { partitions: 6, retentionMs: 1_000 }, line => said.push(line));
    expect(topics['freshet.changes']).toEqual({
      partitions: 6,
      settings: { 'cleanup.policy': 'delete', 'retention.ms': '1000', 'max.message.bytes': '33554432' },
    });
    expect(topics['__debezium-heartbeat.freshet']).toMatchObject({
      partitions: 1,
      settings: { 'cleanup.policy': 'delete' },
    });
    expect(said).toEqual([
      'made the topic freshet.changes, 6 partitions',
      'made the topic __debezium-heartbeat.freshet, 1 partition',
    ]);
  });

  test('are left as they are where they can carry the changes', async () => {
    const { admin, topics } = broker({
      'freshet.changes': good({ settings: { ...good().settings, 'max.message.bytes': '99999999' } }),
    });
    const before = topics['freshet.changes'];
    await ensure(admin);
    expect(topics['freshet.changes']).toBe(before);
  });

  test.each([
    ['another number of partitions', good({ partitions: 3 }), 'has 3 partitions, expected 4'],
    ['compaction', good({ settings: { ...good().settings, 'cleanup.policy': 'compact' } }), 'compaction'],
    [
      'compaction beside deletion',
      good({ settings: { ...good().settings, 'cleanup.policy': 'compact,delete' } }),
      'compaction',
    ],
    [
      'a coding that the workers cannot read',
      good({ settings: { ...good().settings, 'compression.type': 'lz4' } }),
      'compression.type=lz4',
    ],
    [
      'small messages',
      good({ settings: { ...good().settings, 'max.message.bytes': '1048588' } }),
      'up to 1048588 bytes',
    ],
  ])('one with %s is refused', async (_what, topic, said) => {
    const { admin } = broker({ 'freshet.changes': topic });
    await expect(ensure(admin)).rejects.toMatchObject({
      code: 'topic-mismatch',
      message: expect.stringContaining(said),
    });
  });

  test('one that a broker does not know yet though it made it is waited for', async () => {
    const { admin, topics } = broker();
    const slow: TopicAdmin = {
      ...admin,
      async createTopic(...topic) {
        setTimeout(() => void admin.createTopic(...topic), 20);
        throw new FreshetError({ code: 'kafka-unavailable', message: 'not here yet', retryable: true });
      },
    };
    await ensure(slow);
    expect(Object.keys(topics)).toEqual(['freshet.changes', '__debezium-heartbeat.freshet']);
  });

  test('a broker that refuses to make one is told at once', async () => {
    const refusing: TopicAdmin = {
      ...broker().admin,
      createTopic: () => Promise.reject(new FreshetError({ code: 'kafka-refused', message: 'no' })),
    };
    await expect(ensure(refusing)).rejects.toMatchObject({ code: 'kafka-refused' });
  });

  test('one that somebody else makes in the same moment is looked at, too', async () => {
    const { admin, topics } = broker();
    const late: TopicAdmin = {
      ...admin,
      async createTopic() {
        topics['freshet.changes'] = good({ partitions: 2 });
        return false;
      },
    };
    await expect(ensure(late)).rejects.toMatchObject({ code: 'topic-mismatch' });
  });
});
