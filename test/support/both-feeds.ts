import { randomUUID } from 'node:crypto';
import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import { KafkaConsumer } from '../../connectors/kafka-consumer.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { beatPrefixes } from '../../workers/feed/beat-prefixes.ts';
import type { FeedItem } from '../../workers/feed/feed.ts';
import { eventually } from './eventually.ts';
import { itemsUntil, openFeedWorld } from './feed-world.ts';
import { openKafkaWorld } from './kafka-world.ts';

/** One database whose changes come twice: straight from its log, and through Debezium. */
export interface BothFeeds {
  readonly tables: ReadonlyMap<string, TableShape>;
  readonly topicPrefix: string;
  readonly namespace: string;
  /** A transaction id of now. */
  readonly reference: bigint;
  /** Runs the statements on one connection; what came of them over each of the two ways, the ends left out. */
  run(statements: readonly string[]): Promise<{ items: FeedItem[]; records: KafkaRecord[] }>;
  close(): Promise<void>;
}

const ARRIVAL_LIMIT_MS = 30_000;

export async function openBothFeeds(schema: string, partitions: number): Promise<BothFeeds> {
  const world = await openFeedWorld(schema);
  const { namespace, tables } = world;
  const feed = world.feed();
  await world.open(feed);
  const kafka = await openKafkaWorld({ database: world.database, namespace, partitions });
  const { names, brokers } = kafka;
  let received: KafkaRecord[] = [];
  let failure: Error | null = null;
  const next = new Map<number, bigint>();
  const joining = Promise.withResolvers<KafkaConsumer>();
  const consumer = await KafkaConsumer.join(
    { brokers: brokers.split(','), clientId: 'both-feeds' },
    {
      group: names.group,
      topic: names.topic,
      onAssigned: given =>
        void joining.promise.then(joined => {
          for (const partition of given) joined.start(partition, next.get(partition) ?? 0n);
        }),
      onRecords: (partition, records) => {
        received.push(...records);
        const last = records.at(-1);
        if (last) next.set(partition, BigInt(last.offset) + 1n);
      },
      onEnd: error => {
        failure = error;
      },
    },
  );
  joining.resolve(consumer);
  const { rows } = await world.pool.query('select pg_current_snapshot()::text as snapshot');
  const prefixes = beatPrefixes(partitions);
  return {
    tables,
    topicPrefix: names.topicPrefix,
    namespace,
    reference: BigInt((rows[0] as { snapshot: string }).snapshot.split(':')[1]!),
    async run(statements) {
      for (const statement of statements) await world.client.query(statement);
      const writer = randomUUID();
      const ends = prefixes.map((_, i) => JSON.stringify({ writer, number: i, namespace }));
      for (const [i, prefix] of prefixes.entries())
        await world.client.query('select pg_logical_emit_message(false, $1, $2, true)', [prefix, ends[i]]);
      const isEnd = (item: FeedItem): boolean => item.kind === 'beat' && item.beat.writer === writer;
      let left = partitions;
      const items = await itemsUntil(feed, item => isEnd(item) && --left === 0);
      const places = ends.map(end => Buffer.from(end).toString('base64'));
      const holdsEnd = ({ value }: KafkaRecord): boolean =>
        places.some(place => value?.includes(place) ?? false);
      await eventually(
        'all of it has come through Debezium',
        async () => ({
          ends: received.filter(holdsEnd).length,
          failure,
          ...(await kafka.connect.state(names.connector)),
        }),
        ({ ends: found }) => found === partitions,
        ARRIVAL_LIMIT_MS,
      );
      const records = received.filter(record => !holdsEnd(record));
      received = [];
      return { items: items.filter(item => item.kind !== 'mark' && !isEnd(item)), records };
    },
    async close() {
      await consumer.close();
      await kafka.close();
      await feed.close();
      await world.close();
    },
  };
}
