import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { holdTransaction } from '../support/held-transaction.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

describe('a slot that fell too far behind', () => {
  let server: TestServer;
  let world: World;
  let api: ApiProcess;
  let epochs: EpochWatch | undefined;
  let starting: Promise<TestProcess> | undefined;
  let worker: TestProcess;

  beforeAll(async () => {
    server = await startPostgres({
      settings: { max_slot_wal_keep_size: '16MB', min_wal_size: '32MB', max_wal_size: '32MB' },
    });
    world = await openWorld({
      databaseUrl: server.url,
      schema: `create table bogs (id int primary key, name text); insert into bogs values (1, 'Allen'), (2, 'Wem')`,
      config: { resources: { bogs: table('bogs', { warmUp: { top: 0 } }) } },
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterEach(async () => {
    epochs?.close();
    worker = (await starting) ?? worker;
  });
  afterAll(async () => {
    await world?.close();
    await server?.stop();
  });

  /** Log of several segments, then a checkpoint that throws the oldest of them away. */
  const writeLog = async (): Promise<void> => {
    for (let segment = 0; segment < 6; segment += 1) {
      await world.database.query("select pg_logical_emit_message(false, 'filler', repeat('x', 1000))");
      await world.database.query('select pg_switch_wal()');
    }
    await world.database.query('checkpoint');
  };
  const isLost = (): Promise<unknown> =>
    eventually(
      'the slot is invalidated',
      () =>
        world.database.query('select wal_status from pg_replication_slots where slot_name = $1', [
          world.slot,
        ]),
      ({ rows }) => (rows[0] as { wal_status: string }).wal_status === 'lost',
    );

  test('slot-lost: is made anew under a new epoch, and what was lost with it is shown', async () => {
    const old = await warm(api, '/bogs/1');
    const before = await epochOf(world);
    epochs = await watchEpochs(world);
    await worker.kill();
    await world.database.query("update bogs set name = 'lost with the slot' where id = 1");
    await writeLog();
    await isLost();
    const held = await holdTransaction(server.url);
    starting = world.worker();
    await eventually(
      'status names who is waited for',
      async () => (await world.store.processes()).find(({ role }) => role === 'worker'),
      seen => (seen?.waitingFor ?? []).some(({ pid }) => pid === held.pid),
    );
    await isNotProven(api);
    expect((await api.get('/bogs/1')).body).toContain('lost with the slot');
    await held.commit();
    await held.end();
    worker = await starting;
    await world.fresh(api);
    expect(gapsClosed(worker)).toEqual(['slot-lost']);
    expect(epochs.given).toHaveLength(2);
    expect(new Set([before, ...epochs.given]).size).toBe(3);
    expect((await warm(api, '/bogs/1')).body).toContain('lost with the slot');
    expect((await api.get('/bogs/1', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
  }, 60_000);

  test('slot-lost: also when its worker lives, and was only held up', async () => {
    await warm(api, '/bogs/2');
    const before = await epochOf(world);
    worker.signal('SIGSTOP');
    await isNotProven(api);
    await world.database.query("update bogs set name = 'lost again' where id = 2");
    await writeLog();
    await isLost();
    worker.signal('SIGCONT');
    await eventually(
      'the gap is closed',
      () => gapsClosed(worker),
      causes => causes.length === 2,
    );
    expect(gapsClosed(worker)).toEqual(['slot-lost', 'slot-lost']);
    await world.fresh(api);
    expect(await epochOf(world)).not.toBe(before);
    expect((await warm(api, '/bogs/2')).body).toContain('lost again');
  }, 60_000);
});
