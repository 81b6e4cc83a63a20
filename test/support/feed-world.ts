import type pg from 'pg';
import { silentObserver } from '../../shared/observe.ts';
import { adoptDatabase } from '../../shared/origin/adopt.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { introspect } from '../../shared/resources/introspect.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import type { Change, Feed, FeedItem } from '../../workers/feed/feed.ts';
import { WalFeed } from '../../workers/feed/wal-feed.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { namespace } from './namespace.ts';

/** A database that a feed follows, without anything that applies what it brings. */
export interface FeedWorld {
  readonly database: TestDatabase;
  readonly pool: pg.Pool;
  readonly slot: string;
  readonly client: pg.Client;
  /** Another feed on the same slot: a second worker, or the first one after a restart. */
  feed(): WalFeed;
  close(): Promise<void>;
}

export async function openFeedWorld(schema: string): Promise<FeedWorld> {
  const database = await createDatabase();
  const slot = namespace();
  const pool = createPool({
    url: database.url,
    name: 'feed test',
    max: 4,
    readOnly: false,
    statementTimeoutMs: 0,
    observer: silentObserver,
  });
  await adoptDatabase(pool, { apply: true, slot });
  await database.query(schema);
  const shapes = await introspect((sql, params) => pool.query(sql, params));
  const tables = new Map<string, TableShape>(
    shapes.filter(shape => shape.key.length > 0).map(shape => [shape.qualified, shape]),
  );
  const { rows } = await pool.query('select pg_current_snapshot()::text as snapshot');
  const reference = BigInt((rows[0] as { snapshot: string }).snapshot.split(':')[1]!);
  const feeds: WalFeed[] = [];
  const stopping = new AbortController();
  return {
    database,
    pool,
    slot,
    client: await database.connect(),
    feed() {
      const feed = new WalFeed({
        url: database.url,
        slot,
        namespace: slot,
        pool,
        tables: () => tables,
        reference: () => reference,
        beforeStream: async () => {},
        observer: silentObserver,
        whileBlocked: work => work(),
        signal: stopping.signal,
      });
      feeds.push(feed);
      return feed;
    },
    async close() {
      stopping.abort();
      await Promise.all(feeds.map(feed => feed.close()));
      await pool.query(
        'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1',
        [slot],
      );
      await pool.end();
      await database.drop();
    },
  };
}

const LIMIT_MS = 10_000;
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
  throw new Error(
    `the item waited for did not come; these came: ${seen.map(item => item.kind).join(', ') || 'none'}`,
  );
}

/** Changes up to the end of the transaction that `run` commits last. */
export async function changesOf(
  world: FeedWorld,
  feed: Feed,
  run: () => Promise<unknown>,
): Promise<Change[]> {
  await run();
  const marker = `end ${Math.random()}`;
  await world.client.query(`select pg_logical_emit_message(false, 'freshet.beat.0', $1, true)`, [
    JSON.stringify({ writer: marker, number: 1, incarnation: null }),
  ]);
  const items = await itemsUntil(feed, item => item.kind === 'beat' && item.beat.writer === marker);
  return items.flatMap(item => (item.kind === 'change' ? [item.change] : []));
}
