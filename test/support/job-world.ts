import { CacheConnection } from '../../shared/cache/connection.ts';
import { CacheStore } from '../../shared/cache/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { Filler, slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import { adoptDatabase, markIncarnation } from '../../shared/origin/adopt.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { probe } from '../../shared/origin/probe.ts';
import type { TableOptions } from '../../shared/resources/define.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { type Keys, keysOf, rowTag } from '../../shared/resources/keys.ts';
import { loadCatalog } from '../../shared/resources/load-catalog.ts';
import type { Catalog } from '../../shared/resources/resource.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { namespace } from './namespace.ts';
import { type RecordingObserver, recordingObserver } from './recording-observer.ts';

export interface JobWorld {
  readonly database: TestDatabase;
  readonly keys: Keys;
  readonly observer: RecordingObserver;
  readonly catalog: Catalog;
  readonly store: CacheStore;
  readonly filler: Filler;
  readonly pool: ReturnType<typeof createPool>;
  /** A new cache epoch, in which every table may be cached, or none. */
  newEpoch(cacheable?: boolean): Promise<void>;
  /** Bodies that are cached now, by tag. */
  cached(...ids: number[]): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

/** `users` with rows 1 … `rows`, served from real Postgres and a real cache, but followed by nobody. */
export async function openJobWorld(
  rows: number,
  options: TableOptions = { rewarm: 'hot' },
): Promise<JobWorld> {
  const database = await createDatabase();
  const keys = keysOf(`freshet:${namespace()}`);
  const observer = recordingObserver();
  await adoptDatabase(await database.connect(), { apply: true, slot: 'unused' });
  await database.query('create table users (id int primary key, name text not null)');
  await database.query(`insert into users select n, 'user ' || n from generate_series(1, ${rows}) n`);
  const pool = createPool({
    url: database.url,
    max: 5,
    readOnly: true,
    statementTimeoutMs: 5_000,
    name: 'test',
    observer,
  });
  const catalog = await loadCatalog(
    (sql, params) => pool.query(sql, params),
    defineConfig({ resources: { users: table('users', options) } }),
  );
  const url = process.env.TEST_CACHE_REDIS_URL!;
  const connection = new CacheConnection({
    url,
    controlKey: keys.control,
    commandTimeoutMs: 2_000,
    observer,
  });
  await connection.open();
  const store = new CacheStore(connection, keys, systemClock);
  const filler = new Filler({ store, pool, clock: systemClock, observer });
  const tables = [...catalog.tables.values()];
  const users = catalog.resources.get('users')!;

  const world: JobWorld = {
    database,
    keys,
    observer,
    catalog,
    store,
    filler,
    pool,
    async newEpoch(cacheable = true) {
      const incarnation = await markIncarnation(await database.connect());
      const { digests } = await probe(pool, tables);
      const states = tables.map(({ qualified }) => ({
        table: qualified,
        generation: 'one',
        digest: cacheable ? digests.get(qualified)! : null,
      }));
      await store.newEpoch(incarnation, states);
    },
    async cached(...ids) {
      const bodies: Record<string, unknown> = {};
      for (const id of ids) {
        const { entry, control } = await store.readRow(slotOfRow(users, [String(id)]));
        if (!entry || entry.meta.stamp !== control?.stamp) continue;
        bodies[rowTag('users', [String(id)])] = entry.meta.found ? JSON.parse(entry.body.toString()) : null;
      }
      return bodies;
    },
    async close() {
      await connection.close();
      await pool.end();
      await database.drop();
    },
  };
  await world.newEpoch();
  return world;
}
