import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { eventually } from '../support/eventually.ts';
import { counted } from '../support/metrics.ts';
import { openReading, type Reading, untilMode } from '../support/reading.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const EDITS = 200;
const ROWS = 10;
/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** Counts of reads are merged, and the merged ones looked at, every few seconds. */
const POPULAR_WITHIN_MS = 25_000;

const config = defineConfig({
  resources: { places: table('places', { rewarm: 'hot', warmUp: { top: ROWS } }) },
});

/** Jobs make things warm and tidy. Whether what is served is true must not depend on them. */
describe('without the queue', () => {
  let queue: TestServer;
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;
  let reading: Reading;
  let places: Resource;

  beforeAll(async () => {
    queue = await startRedis('queue');
    world = await openWorld({
      queueUrl: queue.url,
      schema: `create table places (id int primary key, visits int not null default 0);
               insert into places select n from generate_series(1, ${ROWS}) n`,
      config,
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
    reading = await openReading(world, config);
    places = reading.resource('places');
  }, 60_000);
  afterAll(async () => {
    await reading?.close();
    await world?.close();
    await queue?.stop();
  });

  let visits = 0;
  async function edit(id: number): Promise<void> {
    visits += 1;
    await world.database.query('update places set visits = $2 where id = $1', [id, visits]);
  }
  const isWarm = async (id: number): Promise<boolean> => {
    const entry = await reading.servable(places, [String(id)]);
    return entry?.body.toString() === `{"id":${id},"visits":${visits}}`;
  };
  /** Edits a row that people like, until it comes back by itself. */
  const untilRewarmed = (id: number): Promise<unknown> =>
    eventually(
      `row ${id} is refilled by nobody's reading`,
      async () => {
        await api.get(`/places/${id}`);
        await edit(id);
        await eventually(
          'it is warm again',
          () => isWarm(id),
          warm => warm,
          BOUND_MS,
        );
        // A warm-up refills rows too; the job that is waited for says that it was it.
        return counted(worker, 'freshet_queue_attempts_total', { queue: 'rewarm', outcome: 'stored' });
      },
      jobs => jobs > 0,
      POPULAR_WITHIN_MS,
    );

  async function expectEditsShown(): Promise<void> {
    for (let round = 0; round < EDITS; round += 1) {
      const id = (round % ROWS) + 1;
      await api.get(`/places/${id}`);
      await edit(id);
      const shown = await eventually(
        `edit ${visits} is shown`,
        () => api.get(`/places/${id}`),
        ({ body }) => body.includes(`"visits":${visits}}`),
        BOUND_MS,
      );
      expect(shown.headers['cache-status']).not.toMatch(/GUARDED|BYPASS/);
    }
  }

  test('popular rows are refilled by jobs while it is there', async () => {
    await untilRewarmed(1);
  }, 60_000);

  test(`${EDITS} edits are shown within the bound while it is down, and the API stays FRESH`, async () => {
    await queue.kill();
    await expectEditsShown();
    await untilMode(api, 'FRESH');
  }, 60_000);

  test('a process that starts while it is down serves and follows all the same', async () => {
    await worker.kill();
    await api.kill();
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
    await expectEditsShown();
  }, 60_000);

  test('jobs go on by themselves once it is back', async () => {
    await queue.restart();
    await untilRewarmed(2);
    await expectEditsShown();
  }, 90_000);
});
