import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pLimit from 'p-limit';
import { CacheConnection } from '../shared/cache/connection.ts';
import { CacheStore } from '../shared/cache/store.ts';
import { systemClock } from '../shared/clock.ts';
import { Filler } from '../shared/fill/lease-and-fill.ts';
import { silentObserver } from '../shared/observe.ts';
import { identifySystem, namespaceOf } from '../shared/origin/adopt.ts';
import { createPool } from '../shared/origin/pool.ts';
import { queryOf } from '../shared/origin/query.ts';
import { keysOf, parseRowTag, tagOfRecord } from '../shared/resources/keys.ts';
import { loadCatalog } from '../shared/resources/load-catalog.ts';
import type { Stores } from './stores.ts';

/** The cache seen from outside the product: makes entries by the product's own filler, and watches them go. */
export interface CachedRows {
  /** Every one of these rows has an entry when it resolves. */
  fill(ids: readonly number[]): Promise<void>;
  /**
   * Tells of each of these rows, which have entries, when Redis says that the body was dropped: the first EVENT of a
   * change has been carried out then. Once a row. Resolves with the way to stop watching.
   */
  watch(ids: readonly number[], onDropped: (id: number, atMs: number) => void): Promise<() => void>;
  close(): Promise<void>;
}

const READS_AT_ONCE = 16;
const TIMEOUT_MS = 10_000;
const RETRY_MS = 10;
const MOST_ATTEMPTS = 500;
/** Keyspace notifications of hash commands. */
const HASH_EVENTS = 'Kh';

/** Rows of one table, with whole numbers as keys. `namespace`: the setting FRESHET_NAMESPACE of who serves them. */
export async function openCachedRows(
  stores: Stores,
  table: string,
  namespace: string | null = null,
): Promise<CachedRows> {
  const observer = silentObserver;
  const pool = createPool({
    url: stores.databaseUrl,
    max: READS_AT_ONCE,
    readOnly: true,
    statementTimeoutMs: TIMEOUT_MS,
    name: 'bench',
    observer,
  });
  const keys = keysOf(namespaceOf(await identifySystem(pool), namespace));
  const catalog = await loadCatalog(queryOf(pool, 'the definitions could not be read'), null);
  const resource = catalog.resources.get(table)!;
  const connection = new CacheConnection({
    url: stores.cacheUrl,
    controlKey: keys.control,
    commandTimeoutMs: TIMEOUT_MS,
    observer,
  });
  await connection.open();
  const filler = new Filler({
    store: new CacheStore(connection, keys, systemClock),
    pool,
    clock: systemClock,
    observer,
  });
  const limit = pLimit(READS_AT_ONCE);

  const fillOne = async (id: number): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      const result = await filler.fill(resource, [String(id)]);
      if (result.status === 'stored' || result.status === 'present') return;
      // The worker's warm-up fills rows too, and may hold the lease just now.
      if (result.status !== 'busy' || attempt === MOST_ATTEMPTS)
        throw new Error(`row ${id} was not cached: ${JSON.stringify(result)}`);
      await delay(RETRY_MS);
    }
  };

  return {
    async fill(ids) {
      await limit.map(ids, fillOne);
    },
    async watch(ids, onDropped) {
      const watched = new Set(ids);
      const subscriber = new Redis(stores.cacheUrl, { protocol: 2 });
      await subscriber.config('SET', 'notify-keyspace-events', HASH_EVENTS);
      const channel = '__keyspace@0__:';
      subscriber.on('pmessage', (_pattern: string, name: string, command: string) => {
        const atMs = performance.now();
        if (command !== 'hdel') return;
        const id = Number(parseRowTag(tagOfRecord(keys, name.slice(channel.length))).key[0]);
        // What comes later is a refill by somebody else, or the same EVENT again.
        if (watched.delete(id)) onDropped(id, atMs);
      });
      await subscriber.psubscribe(`${channel}${keys.row(`${table}:*`)}`);
      return () => subscriber.disconnect();
    },
    async close() {
      await connection.close();
      await pool.end();
    },
  };
}
