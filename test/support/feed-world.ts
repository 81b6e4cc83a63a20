import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { kafkaNames } from '../../connectors/names.ts';
import { silentObserver } from '../../shared/observe.ts';
import { adoptDatabase } from '../../shared/origin/adopt.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { introspect } from '../../shared/resources/introspect.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { DebeziumSource } from '../../workers/feed/debezium-source.ts';
import type { Change, Feed, FeedItem, FeedPosition, Taken } from '../../workers/feed/feed.ts';
import { KafkaFeed } from '../../workers/feed/kafka-feed.ts';
import { WalFeed } from '../../workers/feed/wal-feed.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { eventually } from './eventually.ts';
import { keptBytes, untilSteady } from './heap.ts';
import { type KafkaWorld, type KafkaWorldOptions, openKafkaWorld } from './kafka-world.ts';
import { namespace } from './namespace.ts';

export type FeedKind = 'wal' | 'kafka';

/** A database that a feed follows, without anything that applies what it brings. */
export interface FeedWorld {
  readonly kind: FeedKind;
  readonly database: TestDatabase;
  readonly pool: pg.Pool;
  /** That the feed, or its connector, reads. */
  readonly slot: string;
  /** Whose beats are ours. */
  readonly namespace: string;
  readonly client: pg.Client;
  /** Served tables by qualified name: those with a primary key that were there at the beginning. */
  readonly tables: ReadonlyMap<string, TableShape>;
  /** Null where changes come straight from the log. */
  readonly kafka: KafkaWorld | null;
  /** What was remembered last, by record: what Redis holds for the workers. */
  readonly positions: Map<string, FeedPosition>;
  /** Another feed on the same source: a second worker, or the first one after a restart. `set`: FRESHET_NAMESPACE. */
  feed(set?: string): Feed;
  /** Takes over what was remembered last. */
  open(feed: Feed): Promise<Taken>;
  /** Remembers the last mark of each partition, and acknowledges it unless that is to get lost. */
  settle(feed: Feed, items: readonly FeedItem[], acknowledge?: boolean): void;
  close(): Promise<void>;
}

export type FeedWorldOptions = Pick<KafkaWorldOptions, 'chain' | 'partitions'> & { readonly kind?: FeedKind };

export async function openFeedWorld(schema: string, options: FeedWorldOptions = {}): Promise<FeedWorld> {
  const { kind = 'wal', ...kafkaOptions } = options;
  const database = await createDatabase();
  const own = namespace();
  const pool = createPool({
    url: database.url,
    name: 'feed test',
    max: 4,
    readOnly: false,
    statementTimeoutMs: 0,
    observer: silentObserver,
  });
  await adoptDatabase(pool, { apply: true, slot: own });
  await database.query(schema);
  const shapes = await introspect((sql, params) => pool.query(sql, params));
  const tables = new Map<string, TableShape>(
    shapes.filter(shape => shape.key.length > 0).map(shape => [shape.qualified, shape]),
  );
  const { rows } = await pool.query('select pg_current_snapshot()::text as snapshot');
  const reference = BigInt((rows[0] as { snapshot: string }).snapshot.split(':')[1]!);
  const kafka = kind === 'kafka' ? await openKafkaWorld({ ...kafkaOptions, database, namespace: own }) : null;
  const slot = kafka?.names.slot ?? own;
  const positions = new Map<string, FeedPosition>();
  const feeds: Feed[] = [];
  const stopping = new AbortController();
  const common = {
    namespace: own,
    pool,
    tables: () => tables,
    reference: () => reference,
    observer: silentObserver,
    whileBlocked: <T>(work: () => Promise<T>): Promise<T> => work(),
    signal: stopping.signal,
  };

  return {
    kind,
    database,
    pool,
    slot,
    namespace: own,
    client: await database.connect(),
    tables,
    kafka,
    positions,
    feed(set = own) {
      const names = kafkaNames(set);
      const feed = kafka
        ? new KafkaFeed({
            ...common,
            kafka: { brokers: kafka.brokers.split(','), clientId: `test-${feeds.length}` },
            names,
            source: new DebeziumSource({ ...common, names, connect: kafka.connect }),
            beforeRecords: async () => {},
          })
        : new WalFeed({ ...common, url: database.url, slot, beforeStream: async () => {} });
      feeds.push(feed);
      return feed;
    },
    open: feed =>
      feed.open({
        remembered: async partition => positions.get(feed.recordOf(partition)) ?? null,
        doubt: async () => {},
      }),
    settle(feed, items, acknowledge = true) {
      const last = new Map(items.flatMap(item => (item.kind === 'mark' ? [[item.partition, item]] : [])));
      for (const [partition, { position }] of last) {
        positions.set(feed.recordOf(partition), feed.positionOf(partition, position));
        if (acknowledge) feed.acknowledge(partition, position);
      }
    },
    async close() {
      stopping.abort();
      await Promise.all(feeds.map(feed => feed.close()));
      await kafka?.close();
      await eventually(
        `slot ${slot} is dropped`,
        () =>
          pool
            .query(
              'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1',
              [slot],
            )
            .then(() => true),
        isDropped => isDropped === true,
        20_000,
      );
      await pool.end();
      await database.drop();
    },
  };
}

/** Waits until the source hands over no more: everything is on its way, or whoever should take it takes nothing. */
export async function untilStandstill({ kafka, pool, slot }: FeedWorld): Promise<void> {
  const sentUpTo = async (): Promise<unknown> => {
    const { rows } = await pool.query(
      `select sent_lsn::text as lsn from pg_stat_replication
       where pid = (select active_pid from pg_replication_slots where slot_name = $1)`,
      [slot],
    );
    return (rows[0] as { lsn: string } | undefined)?.lsn;
  };
  const published = async (): Promise<unknown> =>
    [...(await kafka!.admin.ranges(kafka!.names.topic)).values()].map(({ latest }) => latest).join();
  await untilSteady('the source', kafka ? published : sentUpTo, STEADY_MS, 60_000);
  const STEP_BYTES = 4_000_000;
  await untilSteady('memory', () => Math.round(keptBytes() / STEP_BYTES), STEADY_MS, 60_000);
}

const STEADY_MS = 1_500;

/** Through a broker it takes longer, and the machine is shared. */
const LIMIT_MS = 30_000;
/** What came with an accepted item and behind it: the beginning of what is looked at next. */
const leftOver = new WeakMap<Feed, FeedItem[]>();

/** Items until one is accepted, that one included. On timeout it says what came instead. */
export async function itemsUntil(feed: Feed, accept: (item: FeedItem) => boolean): Promise<FeedItem[]> {
  const seen: FeedItem[] = [];
  const untilMs = performance.now() + LIMIT_MS;
  while (performance.now() < untilMs) {
    const batch = leftOver.get(feed) ?? (await feed.next(100));
    leftOver.delete(feed);
    for (const [i, item] of batch.entries()) {
      seen.push(item);
      if (!accept(item)) continue;
      if (i + 1 < batch.length) leftOver.set(feed, batch.slice(i + 1));
      return seen;
    }
  }
  const kinds = Map.groupBy(seen, ({ kind, partition }) => `${kind} of ${partition}`);
  throw new Error(
    `the item waited for did not come; these came: ${[...kinds].map(([what, { length }]) => `${length} ${what}`).join(', ') || 'none'}`,
  );
}

/** Forgets what came and was not looked at: the feed begins again somewhere. */
export const forgetLeftOver = (feed: Feed): boolean => leftOver.delete(feed);

/** Puts a beat of a writer of its own into every partition; resolves with the writer. */
export async function beatOnce(world: FeedWorld, feed: Feed, number = 1): Promise<string> {
  const writer = randomUUID();
  await sendBeat(world, feed, writer, number);
  return writer;
}

export async function sendBeat(
  world: FeedWorld,
  feed: Feed,
  writer: string,
  number: number,
  namespace = world.namespace,
): Promise<void> {
  const content = JSON.stringify({ writer, number, incarnation: 'of the test', namespace });
  await world.client.query(
    'select pg_logical_emit_message(false, prefix, $2, true) from unnest($1::text[]) prefix',
    [feed.beatPrefixes, content],
  );
}

/** Everything up to the beat of this writer, that one included, has come from each of the partitions. */
export async function itemsUntilBeat(
  feed: Feed,
  writer: string,
  partitions = feed.partitions,
): Promise<FeedItem[]> {
  let left = partitions;
  return itemsUntil(feed, item => {
    if (item.kind === 'beat' && item.beat.writer === writer) left -= 1;
    return left === 0;
  });
}

/** What comes of `run`, whatever the partition, in the order in which it comes. */
export async function itemsOf(
  world: FeedWorld,
  feed: Feed,
  run: () => Promise<unknown>,
): Promise<FeedItem[]> {
  await run();
  const writer = await beatOnce(world, feed);
  const items = await itemsUntilBeat(feed, writer);
  return items.filter(item => !(item.kind === 'beat' && item.beat.writer === writer));
}

/** Changes up to the end of the transaction that `run` commits last. */
export async function changesOf(
  world: FeedWorld,
  feed: Feed,
  run: () => Promise<unknown>,
): Promise<Change[]> {
  return (await itemsOf(world, feed, run)).flatMap(item => (item.kind === 'change' ? [item.change] : []));
}
