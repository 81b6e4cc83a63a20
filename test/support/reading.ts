import pLimit from 'p-limit';
import type { Freshness } from '../../api/read/freshness.ts';
import type { Guard } from '../../api/read/guard.ts';
import { Reader, type ReaderOptions } from '../../api/read/reader.ts';
import { systemClock } from '../../shared/clock.ts';
import { Filler, slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import { createPool } from '../../shared/origin/pool.ts';
import type { Entry, TableControl } from '../../shared/protocol/entry.ts';
import type { FreshetConfig } from '../../shared/resources/define.ts';
import { loadCatalog } from '../../shared/resources/load-catalog.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { eventually } from './eventually.ts';
import { type HeldPool, holdable } from './held-pool.ts';
import { type RecordingObserver, recordingObserver } from './recording-observer.ts';
import type { ApiProcess, World } from './world.ts';

/** The parts of a read inside the test's own process: the cache and the database are those of the world. */
export interface Reading {
  /** Read-only sessions on the world's database. */
  readonly sessions: HeldPool;
  readonly observer: RecordingObserver;
  resource(name: string): Resource;
  filler(leaseMs?: number): Filler;
  /** A reader that holds the cache for fresh. */
  reader(options?: Partial<ReaderOptions>): Reader;
  /** The entry that a reader would be given now; null when there is none, or none that may be served. */
  servable(resource: Resource, key: readonly string[]): Promise<Entry | null>;
  close(): Promise<void>;
}

export async function openReading(world: World, config: FreshetConfig): Promise<Reading> {
  const observer = recordingObserver();
  const pool = createPool({
    url: world.database.url,
    max: 5,
    readOnly: true,
    statementTimeoutMs: 10_000,
    name: 'test',
    observer,
  });
  const catalog = await loadCatalog((sql, params) => pool.query(sql, params), config);
  const sessions = holdable(pool);
  const { store } = world;
  const filler = (leaseMs?: number): Filler =>
    new Filler({
      store,
      pool: sessions.pool,
      clock: systemClock,
      observer,
      ...(leaseMs !== undefined && { leaseMs }),
    });
  return {
    sessions,
    observer,
    resource: name => catalog.resources.get(name)!,
    filler,
    reader: (options = {}) =>
      new Reader({
        store,
        filler: filler(),
        freshness: alwaysFresh,
        guard: neverAsked,
        clock: systemClock,
        limit: pLimit(8),
        mostWaiting: 100,
        tokenPrefix: '',
        refreshCatalog: async () => {},
        currentResource: name => catalog.resources.get(name),
        ...options,
      }),
    async servable(resource, key) {
      const { entry, control } = await store.readRow(slotOfRow(resource, key));
      return entry && isOfToday(entry, control) ? entry : null;
    },
    close: () => pool.end(),
  };
}

const alwaysFresh = { covers: () => true, mode: () => 'FRESH' } as unknown as Freshness;
const neverAsked = {} as Guard;

const isOfToday = (entry: Entry, control: TableControl | null): boolean =>
  entry.meta.stamp === control?.stamp;

/** Waits until everything committed until now is settled: only then does the worker let go of the log. */
export async function untilSettled(world: World): Promise<void> {
  const { rows } = await world.database.query('select pg_current_wal_lsn()::text as lsn');
  const { lsn } = rows[0] as { lsn: string };
  await eventually(
    `what was committed before ${lsn} is settled`,
    () =>
      world.database.query(
        'select confirmed_flush_lsn >= $2::pg_lsn as settled from pg_replication_slots where slot_name = $1',
        [world.slot, lsn],
      ),
    ({ rows: [slot] }) => (slot as { settled: boolean } | undefined)?.settled === true,
  );
}

/** Waits until the API says of itself that it is in this mode. */
export const untilMode = (api: ApiProcess, mode: 'FRESH' | 'GUARDED' | 'BYPASS'): Promise<unknown> =>
  eventually(
    `the API is ${mode}`,
    async () => (await api.get('/health/ready')).body,
    body => body.includes(mode),
    15_000,
  );
