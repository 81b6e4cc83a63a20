import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import pg from 'pg';
import { parseSnapshot, sees } from '../../shared/protocol/snapshot.ts';
import { table } from '../../shared/resources/define.ts';
import { keysOf, rowTag } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** Nothing is written out by itself while a test wants it lost. */
const SETTINGS = {
  wal_writer_delay: '10s',
  autovacuum: 'off',
  checkpoint_timeout: '1h',
};

describe('a database that crashed', () => {
  let server: TestServer;
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;
  let redis: Redis;

  beforeAll(async () => {
    server = await startPostgres({ settings: SETTINGS });
    world = await openWorld({
      databaseUrl: server.url,
      schema: `create table peaks (id int primary key, name text);
               insert into peaks select n, 'peak ' || n from generate_series(1, 9) n`,
      config: { resources: { peaks: table('peaks', { warmUp: { top: 0 }, rewarm: 'never' }) } },
    });
    redis = new Redis(world.cacheUrl);
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(async () => {
    redis?.disconnect();
    await world?.close();
    await server?.stop();
  });

  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: server.url });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  const one = async (client: pg.Client, sql: string): Promise<string> =>
    String(Object.values((await client.query(sql)).rows[0] as object)[0]);
  const NEXT_XID = 'select pg_snapshot_xmax(pg_current_snapshot())';
  const marker = (): Promise<string> =>
    world.database
      .query('select incarnation from freshet.alive')
      .then(({ rows }) => rows[0]?.incarnation ?? '');
  /** The field of a cached row whose name begins so. */
  const cached = async (id: number, field: string): Promise<string | undefined> => {
    const record = await redis.hgetall(keysOf(world.namespace).row(rowTag('peaks', [String(id)])));
    return Object.entries(record).find(([name]) => name.startsWith(field))?.[1];
  };
  const named = (id: number, name: string): string => JSON.stringify({ id, name });

  test('and gives out again the transaction ids of what it lost: nothing of before is served', async () => {
    const untouched = await warm(api, '/peaks/3');
    const before = { epoch: await epochOf(world), incarnation: await marker() };
    // No beats: each of them would write out the log up to itself.
    worker.signal('SIGSTOP');
    await isNotProven(api);

    const writer = await connect();
    await writer.query('begin');
    await writer.query("update peaks set name = 'never' where id = 1");
    const undone = BigInt(await one(writer, 'select pg_current_xact_id()'));
    await writer.query('rollback');
    await writer.query('set synchronous_commit = off');
    await writer.query('begin');
    await writer.query("update peaks set name = 'lost' where id = 2");
    const lost = BigInt(await one(writer, 'select pg_current_xact_id()'));
    await writer.query('commit');
    // Entries are made whose snapshots say of both transactions that they are over.
    for (const id of [1, 2]) await api.get(`/peaks/${id}`);
    const seen = parseSnapshot((await cached(1, 's:'))!);
    expect([sees(seen, undone), sees(seen, lost)]).toEqual([true, true]);
    expect(await cached(2, 'b:')).toBe(named(2, 'lost'));

    await server.kill();
    await server.restart();
    const again = await connect();
    expect(await one(again, 'select name from peaks where id = 2')).toBe('peak 2');
    while (BigInt(await one(again, NEXT_XID)) < undone) await one(again, 'select pg_current_xact_id()');
    const changes = [
      [1, undone, "update peaks set name = 'new' where id = 1 returning pg_current_xact_id()"],
      [2, lost, "update peaks set name = 'newer' where id = 2 returning pg_current_xact_id()"],
    ] as const;
    for (const [, xid, sql] of changes) expect(BigInt(await one(again, sql))).toBe(xid);
    // Row 2 has the very xmin under which it was cached with what is lost.
    expect((await cached(2, 'm:'))!.split('\t')).toContain(String(lost));

    for (const [id, name] of [
      [1, 'new'],
      [2, 'newer'],
      [3, 'peak 3'],
    ] as const) {
      const guarded = await api.get(`/peaks/${id}`);
      expect([guarded.body, guarded.headers['cache-status']]).toEqual([
        named(id, name),
        expect.stringContaining('fwd='),
      ]);
    }
    expect(await marker()).toBe('');

    worker.signal('SIGCONT');
    await world.fresh(api);
    expect(gapsClosed(worker)).toEqual(['first-start', 'other-incarnation']);
    expect(await epochOf(world)).not.toBe(before.epoch);
    expect(await marker()).toMatch(/^[0-9a-f-]{36}$/);
    expect(await marker()).not.toBe(before.incarnation);
    expect((await api.get('/peaks/3')).headers['cache-status']).toContain('fwd=');
    expect((await warm(api, '/peaks/1')).body).toBe(named(1, 'new'));
    expect((await warm(api, '/peaks/2')).body).toBe(named(2, 'newer'));
    expect((await warm(api, '/peaks/3')).body).toBe(untouched.body);
    await Promise.allSettled([writer.end(), again.end()]);
  }, 60_000);

  test('under load comes back by itself, the worker never stopped', async () => {
    await warm(api, '/peaks/4');
    const before = await epochOf(world);
    await server.kill();
    await server.restart();
    await world.database.query("update peaks set name = 'after' where id = 4");
    await eventually(
      'row 4',
      () => api.get('/peaks/4'),
      answer => answer.body === named(4, 'after'),
      1_000,
    );
    await eventually(
      'a new epoch',
      () => epochOf(world),
      epoch => epoch !== before,
    );
    await eventually(
      'the gap is closed',
      () => gapsClosed(worker).length,
      count => count === 3,
    );
    await world.fresh(api);
    expect(gapsClosed(worker).at(-1)).toBe('other-incarnation');
    expect((await warm(api, '/peaks/4')).body).toBe(named(4, 'after'));
  }, 60_000);
});
