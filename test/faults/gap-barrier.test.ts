import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ProcessRecord } from '../../shared/cache/store.ts';
import { table } from '../../shared/resources/define.ts';
import { type Cli, openCli } from '../support/cli.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { beatsOf, epochOf, followGap, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { holdTransaction } from '../support/held-transaction.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

describe('the barrier of a gap', () => {
  let elsewhere: TestDatabase;
  let world: World;
  let api: ApiProcess;
  let epochs: EpochWatch | undefined;
  let worker: TestProcess;
  let cli: Cli;

  beforeAll(async () => {
    elsewhere = await createDatabase();
    world = await openWorld({
      schema: `create table bays (id int primary key, name text); insert into bays values (1, 'Fundy')`,
      config: { resources: { bays: table('bays', { warmUp: { top: 0 } }) } },
    });
    worker = await world.worker();
    api = await world.api();
    cli = openCli(world);
    await world.fresh(api);
  });
  afterEach(() => epochs?.close());
  afterAll(async () => {
    cli?.close();
    await world?.close();
    await elsewhere?.drop();
  });

  const workerSays = async (): Promise<ProcessRecord> =>
    (await world.store.processes()).find(({ role }) => role === 'worker')!;

  test('waits for a transaction of another database too, and `freshet status` names both', async () => {
    const old = await warm(api, '/bays/1');
    const before = await epochOf(world);
    epochs = await watchEpochs(world);
    const here = await holdTransaction(world.database.url);
    const there = await holdTransaction(elsewhere.url);

    const ordered = await cli.run('cache', 'flush', '--json');
    expect(ordered.code).toBe(0);
    const { epoch } = JSON.parse(ordered.text) as { epoch: string };

    const record = await eventually(
      'the worker names both',
      workerSays,
      seen => seen?.waitingFor?.length === 2,
    );
    expect(record.gap).toBe('ordered');
    for (const { pid, database } of [here, there]) {
      expect(record.waitingFor).toContainEqual(expect.objectContaining({ pid, database }));
    }
    const told = await cli.run('status');
    expect(told.code).toBe(0);
    expect(told.text).toMatch(/^worker {4}gap: ordered$/m);
    for (const { pid, database } of [here, there]) {
      expect(told.text).toMatch(
        new RegExp(`^ +waits for process ${pid} of Postgres \\(database ${database}, \\d+ s\\): `, 'm'),
      );
    }
    const { processes } = JSON.parse((await cli.run('status', '--json')).text) as {
      processes: ProcessRecord[];
    };
    const ages = processes.flatMap(({ waitingFor }) => waitingFor ?? []).map(({ ageSeconds }) => ageSeconds);
    expect(ages).toHaveLength(2);
    for (const age of ages) expect(age).toBeGreaterThanOrEqual(0);

    await here.commit();
    await eventually('one is left', workerSays, seen => seen.waitingFor?.length === 1);
    expect((await workerSays()).waitingFor).toEqual([
      expect.objectContaining({ pid: there.pid, database: there.database }),
    ]);
    await isNotProven(api);
    expect(epochs.given).toEqual([epoch, expect.any(String)]);
    expect(await epochOf(world)).toBe(epochs.given[1]);

    await there.commit();
    await world.fresh(api);
    expect(epochs.given).toHaveLength(3);
    expect(new Set([before, ...epochs.given]).size).toBe(4);
    expect(gapsClosed(worker)).toEqual(['first-start', 'ordered']);
    await eventually('nobody is waited for', workerSays, seen => seen.waitingFor?.length === 0 && !seen.gap);
    const late = await api.get('/bays/1', { 'If-None-Match': old.headers.etag! });
    // The same row, hence the same tag; but it was read again.
    expect([late.status, late.headers['cache-status']]).toEqual([304, expect.stringMatching(/fwd=/)]);
    await Promise.all([here.end(), there.end()]);
  });

  test('is passed by a transaction that began behind it', async () => {
    const first = await holdTransaction(elsewhere.url);
    await world.store.newEpoch(null, []);
    await eventually('the barrier waits', workerSays, seen => seen.waitingFor?.length === 1);
    const later = await holdTransaction(world.database.url);
    await first.commit();
    await world.fresh(api);
    expect((await workerSays()).waitingFor).not.toContainEqual(expect.objectContaining({ pid: later.pid }));
    await later.commit();
    await Promise.all([first.end(), later.end()]);
  });

  test('is also what a held table waits for: it is cached again behind it', async () => {
    await warm(api, '/bays/1');
    const before = await epochOf(world);
    const held = await holdTransaction(world.database.url);
    await world.database.query(`alter table bays add column depth int`);
    await eventually(
      'the table is held',
      async () => (await world.store.control())?.tables.get('bays')?.digest,
      digest => digest === null,
    );
    await world.store.newEpoch(null, []);
    await eventually(
      'the gap waits',
      workerSays,
      seen => seen?.gap === 'ordered' && seen.waitingFor?.length === 1,
    );
    await held.commit();
    await held.end();
    await world.fresh(api);
    expect((await warm(api, '/bays/1')).body).toContain('"depth":null');
    expect(await epochOf(world)).not.toBe(before);
  });

  test('is waited for when a beat never came: beat-missing', async () => {
    await world.fresh(api);
    const position = await eventually(
      'a beat is remembered',
      () => world.store.positions.read('wal'),
      seen => beatsOf(seen).length > 0,
    );
    const [writer, number] = beatsOf(position).at(-1)!;
    await followGap({
      world,
      api,
      path: '/bays/1',
      cause: 'beat-missing',
      provoke: () =>
        world.database.query(
          `select pg_logical_emit_message(false, 'freshet.beat.0', json_build_object('writer', $1::text,
             'number', $2::int, 'incarnation', (select incarnation from freshet.alive))::text, true)`,
          [writer, number + 1_000],
        ),
    });
    expect(gapsClosed(worker).at(-1)).toBe('beat-missing');
  });
});
