import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { beatsOf, epochOf, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const ROWS = 1_000;
const WARM = 200;
const CHANGES = 10_000;
/** From the start of a worker to the first proof, with all that had piled up. */
const BACK_WITHIN_MS = 15_000;

/** The slot keeps what a worker did not see: its absence is no gap, and costs no cache. */
describe('a worker that is gone', () => {
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeEach(async () => {
    world = await openWorld({
      schema: `create table stars (id int primary key, n int not null);
               insert into stars select n, 0 from generate_series(1, ${ROWS}) n`,
      config: { resources: { stars: table('stars', { warmUp: { top: 0 }, rewarm: 'never' }) } },
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterEach(() => world.close());

  const ids = Array.from({ length: WARM }, (_, i) => 1 + i * (ROWS / WARM));
  const rightBodies = async (): Promise<Map<number, string>> => {
    const { rows } = await world.database.query('select id, n from stars');
    return new Map((rows as { id: number; n: number }[]).map(row => [row.id, JSON.stringify(row)]));
  };

  test(`misses ${CHANGES} changes, and all of them are covered when the next one has read them`, async () => {
    const tags = new Map<number, string>();
    for (const id of ids) tags.set(id, (await warm(api, `/stars/${id}`)).headers.etag!);
    const before = await epochOf(world);
    const position = await eventually(
      'a position',
      () => world.store.positions.read('wal'),
      seen => seen !== null,
    );

    await worker.kill();
    // One transaction each; the last row of those that were read is left as it was.
    await world.database.query(
      `do $$ begin for i in 0 .. ${CHANGES - 1} loop
         update stars set n = n + 1 where id = 1 + i % ${ROWS - 5};
         commit;
       end loop; end $$`,
    );
    await isNotProven(api);
    const right = await rightBodies();
    for (const id of ids.slice(0, 20)) expect((await api.get(`/stars/${id}`)).body).toBe(right.get(id));

    const startedMs = performance.now();
    worker = await world.worker();
    await world.fresh(api);
    const backMs = performance.now() - startedMs;
    process.stdout.write(`${CHANGES} changes behind, proven again after ${Math.round(backMs)} ms\n`);
    expect(backMs).toBeLessThan(BACK_WITHIN_MS);

    for (const id of ids) {
      const answer = await api.get(`/stars/${id}`, { 'If-None-Match': tags.get(id)! });
      const untouched = id > ROWS - 5;
      expect([id, answer.status, answer.body]).toEqual([
        id,
        untouched ? 304 : 200,
        untouched ? '' : right.get(id),
      ]);
    }
    expect((await api.get(`/stars/${ids.at(-1)}`)).headers['cache-status']).toBe('freshet; hit');
    expect(await epochOf(world)).toBe(before);
    expect(gapsClosed(worker)).toEqual([]);
    expect((await world.store.positions.read('wal'))!.lsn).not.toBe(position!.lsn);
  }, 90_000);

  test('is taken over from by one that stood by, from its position and under its epoch', async () => {
    const standby = await world.worker();
    expect(standby.log()).toContain('"event":"feed.standby"');
    const cached = await warm(api, '/stars/1');
    const kept = await warm(api, '/stars/2');
    const before = await epochOf(world);

    await worker.kill();
    await world.database.query('update stars set n = 7 where id = 1');
    await eventually(
      'shown',
      () => api.get('/stars/1'),
      answer => answer.body === '{"id":1,"n":7}',
      1_000,
    );
    await eventually(
      'taken over',
      () => standby.log(),
      log => log.includes('"event":"feed.connected"'),
    );
    await eventually(
      'the change came through the other worker',
      () => api.get('/stars/1'),
      answer => answer.headers['cache-status'] === 'freshet; hit' && answer.body === '{"id":1,"n":7}',
    );
    expect((await api.get('/stars/1', { 'If-None-Match': cached.headers.etag! })).status).toBe(200);
    expect((await api.get('/stars/2', { 'If-None-Match': kept.headers.etag! })).status).toBe(304);
    expect(await epochOf(world)).toBe(before);
    expect(gapsClosed(standby)).toEqual([]);
  }, 60_000);

  test('and comes back, again and again, without costing the cache', async () => {
    const kept = await warm(api, '/stars/3');
    const before = await epochOf(world);
    for (let round = 1; round <= 5; round += 1) {
      if (round !== 3) await worker.kill();
      else expect(await worker.stop()).toBe(0);
      await world.database.query('update stars set n = $1 where id = 4', [round]);
      worker = await world.worker();
      await eventually(
        `round ${round} is shown by a hit`,
        () => api.get('/stars/4'),
        answer =>
          answer.headers['cache-status'] === 'freshet; hit' && answer.body === `{"id":4,"n":${round}}`,
      );
      expect(gapsClosed(worker)).toEqual([]);
    }
    // Killed between remembering how far it is and telling the server: that part of the log comes again.
    for (let round = 1; round <= 3; round += 1) {
      const [last] = beatsOf(await world.store.positions.read('wal')).at(-1)!;
      await worker.kill();
      worker = await world.worker();
      await eventually(
        'another position is remembered',
        () => world.store.positions.read('wal'),
        seen => beatsOf(seen).at(-1)?.[0] !== last,
      );
    }
    await worker.kill();
    worker = await world.worker();
    await world.fresh(api);
    expect(gapsClosed(worker)).toEqual([]);
    expect(await epochOf(world)).toBe(before);
    const again = await api.get('/stars/3', { 'If-None-Match': kept.headers.etag! });
    expect([again.status, again.headers['cache-status']]).toEqual([304, 'freshet; hit']);
  }, 60_000);
});
