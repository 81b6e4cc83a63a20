import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Entry } from '../../shared/protocol/entry.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { eventually } from '../support/eventually.ts';
import { openReading, type Reading, untilMode } from '../support/reading.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;

const config = defineConfig({
  resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
});

/**
 * A transaction is in the log before anybody sees what it did. Here that moment lasts as long as the test wants:
 * a session waits for a standby that does not exist, with its commit record out, until it is told to stop waiting.
 */
describe('a change that is told before it can be seen', () => {
  let postgres: TestServer;
  let world: World;
  let api: ApiProcess;
  let reading: Reading;
  let places: Resource;

  beforeAll(async () => {
    postgres = await startPostgres({
      settings: { synchronous_standby_names: 'nobody', synchronous_commit: 'local' },
    });
    world = await openWorld({
      databaseUrl: postgres.url,
      schema: `create table places (id int primary key, name text);
               insert into places select n, 'old' from generate_series(1, 10) n`,
      config,
    });
    await world.worker();
    api = await world.api();
    await world.fresh(api);
    reading = await openReading(world, config);
    places = reading.resource('places');
  }, 60_000);
  afterAll(async () => {
    await reading?.close();
    await world?.close();
    await postgres?.stop();
  });

  const cached = async (id: number): Promise<Entry | null> => reading.servable(places, [String(id)]);
  const textOf = (entry: Entry | null): string | undefined => entry?.body.toString();

  /** A session whose commits hang; what it holds is freed by `release`, or as soon as the test file ends. */
  async function holding(sql: string): Promise<{ release(): Promise<void> }> {
    const session: pg.Client = await world.database.connect();
    const { rows } = await session.query('select pg_backend_pid() as pid');
    const { pid } = rows[0] as { pid: number };
    await session.query('set synchronous_commit = on');
    const committed = session.query(sql);
    await eventually(
      'the commit waits for the standby',
      () => world.database.query('select wait_event from pg_stat_activity where pid = $1', [pid]),
      ({ rows: [row] }) => (row as { wait_event: string }).wait_event === 'SyncRep',
    );
    return {
      async release() {
        await world.database.query('select pg_cancel_backend($1)', [pid]);
        await committed;
        await session.end();
      },
    };
  }

  /** The entry is in the cache, and the event of the change that is held takes it out. */
  async function holdOver(id: number, sql: string): Promise<{ release(): Promise<void> }> {
    await api.get(`/places/${id}`);
    expect(await cached(id)).not.toBeNull();
    const held = await holding(sql);
    await eventually(
      'the event was applied',
      () => cached(id),
      entry => entry === null,
    );
    return held;
  }

  const settledUpTo = async (): Promise<string> => {
    const { rows } = await world.database.query(
      'select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = $1',
      [world.slot],
    );
    return (rows[0] as { lsn: string }).lsn;
  };

  test('drops the old row a second time, when somebody has cached it in between', async () => {
    const held = await holdOver(1, `update places set name = 'new' where id = 1`);
    // What this reader sees is the old row, rightly: nobody sees another one yet.
    expect((await api.get('/places/1')).headers['cache-status']).toContain('stored');
    expect(textOf(await cached(1))).toContain('"old"');
    await held.release();
    // Nobody reads meanwhile, so that only the worker can have done it.
    await eventually(
      'the old row is gone',
      () => cached(1),
      entry => entry === null,
      BOUND_MS,
    );
    expect((await api.get('/places/1')).body).toContain('"new"');
  });

  test('does so for inserted, deleted and renamed rows', async () => {
    for (const [id, sql, before, after] of [
      [50, `insert into places values (50, 'new')`, 404, 200],
      [2, 'delete from places where id = 2', 200, 404],
      [3, 'update places set id = 60 where id = 3', 200, 404],
      [61, 'update places set id = 61 where id = 4', 404, 200],
    ] as const) {
      const held = await holdOver(id, sql);
      expect((await api.get(`/places/${id}`)).status).toBe(before);
      expect(await cached(id)).not.toBeNull();
      await held.release();
      await eventually(
        sql,
        () => api.get(`/places/${id}`),
        ({ status }) => status === after,
        BOUND_MS,
      );
      await untilMode(api, 'FRESH');
      expect((await api.get(`/places/${id}`)).status).toBe(after);
    }
  });

  test('lets nothing be proven beyond it while it lasts, however long', async () => {
    const held = await holdOver(5, `update places set name = 'new' where id = 5`);
    await api.get('/places/5');
    await api.get('/places/6');
    await untilMode(api, 'GUARDED');
    const position = await settledUpTo();

    // Every hit is compared with the database now, which says that the old row is what there is.
    const guarded = await api.get('/places/5');
    expect(guarded.headers['cache-status']).toBe('freshet; hit; detail=GUARDED');
    expect(guarded.body).toContain('"old"');

    // What others commit meanwhile is applied, though it cannot be settled: their readers see it.
    await world.database.query(`update places set name = 'new' where id = 6`);
    await eventually(
      'the change of another row is applied',
      () => cached(6),
      entry => entry === null,
    );
    expect((await api.get('/places/6')).body).toContain('"new"');
    expect(await settledUpTo()).toBe(position);

    await held.release();
    await eventually(
      'the old row is gone',
      () => cached(5),
      entry => entry === null,
      BOUND_MS,
    );
    await untilMode(api, 'FRESH');
    await eventually('the position moves on', settledUpTo, lsn => lsn !== position);
    expect((await api.get('/places/5')).body).toContain('"new"');
  });

  test('holds up a reader of the new row nowhere: one who filled after it was seen is left alone', async () => {
    const held = await holdOver(7, `update places set name = 'new' where id = 7`);
    await held.release();
    await api.get('/places/7');
    await untilMode(api, 'FRESH');
    const answer = await api.get('/places/7');
    expect(answer.headers['cache-status']).toBe('freshet; hit');
    expect(answer.body).toContain('"new"');
  });
});
