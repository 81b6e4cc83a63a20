import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { warm } from '../support/gap.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** A worker may stand by for weeks; what it knew of the tables when it began may be wrong by the time it takes over. */
describe('a worker that stood by while a definition changed', () => {
  let world: World;
  let worker: TestProcess;
  let standby: TestProcess;
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table bays (id int primary key, code text not null unique, n int not null);
               insert into bays select n, 'bay-' || n, 0 from generate_series(1, 9) n`,
      config: { resources: { bays: table('bays', { warmUp: { top: 0 }, rewarm: 'never' }) } },
    });
    worker = await world.worker();
    standby = await world.worker();
    expect(standby.log()).toContain('"event":"feed.standby"');
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  test('reads what piled up before it took over by the definition of today', async () => {
    await warm(api, '/bays/1');
    await world.database.query('alter table bays drop constraint bays_pkey, add primary key (code)');
    await eventually(
      'rows are known by their new key',
      async () => [await api.get('/bays/1'), await api.get('/bays/bay-1')],
      ([, renamed]) => renamed!.status === 200,
    );
    await warm(api, '/bays/bay-1');
    await world.fresh(api);
    await worker.kill();
    await world.database.query(`update bays set n = 7 where code = 'bay-1'`);
    // Nobody reads meanwhile, so that only the other worker can have noticed.
    await eventually(
      'taken over',
      () => standby.log(),
      log => log.includes('"event":"feed.connected"'),
    );
    await world.fresh(api);
    await eventually(
      'the change is shown',
      () => api.get('/bays/bay-1'),
      ({ body }) => body.includes('"n":7'),
      2_000,
    );
  });
});
