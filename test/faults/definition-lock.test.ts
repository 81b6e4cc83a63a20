import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { isNotProven, warm } from '../support/gap.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** Locks that a commit has to look through before it lets go of its transaction's: that takes about a millisecond. */
const MANY_LOCKS = 20_000;
const MOST_TRIES = 200;
/** How far into its commit a backend is stopped, at most. */
const LONGEST_START_MS = 6;

/**
 * A commit is seen by others a moment before it has told them that a definition changed, and lets go of its locks
 * last. In between, a session may still read by its old plan.
 */
describe('a definition whose transaction is visible and has not let go', () => {
  let server: TestServer;
  let world: World;
  let api: ApiProcess;

  beforeAll(async () => {
    server = await startPostgres({ settings: { max_locks_per_transaction: 256 } });
    world = await openWorld({
      databaseUrl: server.url,
      schema: `create type tint as enum ('tint0');
               create table tints (id int primary key, t tint);
               insert into tints values (1, 'tint0')`,
      config: { resources: { tints: table('tints', { warmUp: { top: 0 }, rewarm: 'never' }) } },
    });
    await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(async () => {
    await world?.close();
    await server?.stop();
  });

  let label = 0;
  /** Does not block readers, and writes no row. */
  const rename = (): string => {
    label += 1;
    return `alter type tint rename value 'tint${label - 1}' to 'tint${label}'`;
  };
  const body = (): string => JSON.stringify({ id: 1, t: `tint${label}` });
  const generation = async (): Promise<string> =>
    (await world.store.control())!.tables.get('tints')!.generation;
  const open = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: server.url });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  const value = async (client: pg.Client, sql: string): Promise<string> =>
    String(Object.values((await client.query(sql)).rows[0] as object)[0]);

  /** A backend stopped between the two, or null where it was stopped elsewhere in its commit and has gone on. */
  async function stopInside(): Promise<{ goOn(): Promise<void> } | null> {
    const [writer, watcher] = await Promise.all([open(), open()]);
    const pid = Number(await value(writer, 'select pg_backend_pid()'));
    await writer.query('begin');
    await writer.query(rename());
    await writer.query(`select count(pg_advisory_xact_lock(n)) from generate_series(1, ${MANY_LOCKS}) n`);
    const xid = await value(writer, 'select pg_current_xact_id()');
    const committed = writer.query('commit');
    await delay(0);
    const stopMs = performance.now() + Math.random() * LONGEST_START_MS;
    while (performance.now() < stopMs);
    process.kill(pid, 'SIGSTOP');
    const goOn = async (): Promise<void> => {
      process.kill(pid, 'SIGCONT');
      await committed;
      await Promise.all([writer.end(), watcher.end()]);
    };
    // A backend that was stopped with a lock of the server's own in hand stops everybody: no answer, no catch.
    const inside = await Promise.race([
      value(
        watcher,
        `select pg_visible_in_snapshot('${xid}', pg_current_snapshot()) and exists (
           select from pg_locks where locktype = 'transactionid' and granted and transactionid = '${xid}'::xid8::xid
         )`,
      ),
      delay(300, 'no answer'),
    ]);
    if (inside === 'true') return { goOn };
    await goOn();
    return null;
  }

  test('waits for it: no new generation and no proof until the lock is gone', async () => {
    for (let tries = 1; ; tries += 1) {
      await world.fresh(api);
      await eventually(
        'the last one is known',
        () => warm(api, '/tints/1'),
        ({ body: seen }) => seen === body(),
      );
      const before = await generation();
      const held = await stopInside();
      if (!held) {
        expect(tries).toBeLessThan(MOST_TRIES);
        await eventually('a new generation', generation, seen => seen !== before);
        continue;
      }
      try {
        await isNotProven(api);
        expect(await generation()).toBe(before);
      } finally {
        await held.goOn();
      }
      await eventually('a new generation', generation, seen => seen !== before, BOUND_MS);
      await world.fresh(api);
      expect((await warm(api, '/tints/1')).body).toBe(body());
      return;
    }
  }, 120_000);

  test('keeps nothing from being proven while others run, savepoints and prepared ones among them: rows are only not cached until they end', async () => {
    const [running, prepared] = await Promise.all([open(), open()]);
    for (const [client, name] of [
      [running, 'one'],
      [prepared, 'two'],
    ] as const) {
      await client.query('begin; select pg_current_xact_id(); savepoint outer_one');
      await client.query(
        `create table ${name} (id int); savepoint inner_one; create table ${name}_undone (id int)`,
      );
      await client.query(`rollback to inner_one; create table ${name}_again (id int)`);
    }
    await prepared.query(`prepare transaction 'left open'`);
    await warm(api, '/tints/1');
    await world.database.query(rename());
    await eventually(
      'right',
      () => api.get('/tints/1'),
      ({ body: seen }) => seen === body(),
      BOUND_MS,
    );
    await world.fresh(api);
    // Either of them may still bring a change that was made under the old definition.
    const uncached = { 'cache-status': 'freshet; fwd=uri-miss; detail=not_cacheable' };
    expect((await api.get('/tints/1')).headers).toMatchObject(uncached);
    await running.query('rollback');
    expect((await api.get('/tints/1')).headers).toMatchObject(uncached);
    await prepared.query(`rollback prepared 'left open'`);
    expect((await warm(api, '/tints/1')).body).toBe(body());
    await Promise.all([running.end(), prepared.end()]);
  });
});
