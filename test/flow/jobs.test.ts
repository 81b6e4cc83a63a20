import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openPopularity, type Popularity } from '../../shared/queue/popularity.ts';
import { openQueues, type Queues } from '../../shared/queue/queues.ts';
import { type Jobs, startJobs } from '../../workers/jobs/start.ts';
import type { SettledRow } from '../../workers/settled.ts';
import { eventually } from '../support/eventually.ts';
import { type JobWorld, openJobWorld } from '../support/job-world.ts';
import { namespace } from '../support/namespace.ts';

const url = process.env.TEST_QUEUE_REDIS_URL!;
const rows = 40;
const top = 12;
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

let world: JobWorld;
beforeAll(async () => {
  world = await openJobWorld(rows, { rewarm: 'hot', warmUp: { top } });
});
afterAll(() => world.close());

describe('the jobs of a worker', () => {
  interface Worker {
    jobs: Jobs;
    queues: Queues;
    popularity: Popularity;
    fills: (readonly string[])[];
  }

  /** A worker's jobs in a namespace of their own, on rows as they are in Postgres now. */
  async function startWorker(space: string, popular: readonly number[] = []): Promise<Worker> {
    const { observer } = world;
    const keys = { ...world.keys, popularity: (resource: string) => `${space}:popularity:${resource}` };
    const popularity = openPopularity({ url, keys, observer, watch: () => world.catalog.resources.values() });
    closers.push(() => popularity.close());
    popular.forEach((id, i) => {
      for (let reads = popular.length; reads > i; reads--) popularity.count('users', `users:${id}`);
    });
    await eventually('connected', () => popularity.top('users', 1).then(() => true), Boolean);
    await popularity.sync();
    const queues = await openQueues({ url, namespace: space, observer });
    const fills: (readonly string[])[] = [];
    const filler: Pick<typeof world.filler, 'fill'> = {
      fill(resource, key, options) {
        fills.push(key);
        return world.filler.fill(resource, key, options);
      },
    };
    const jobs = startJobs({ ...world, queues, popularity, filler, catalog: () => world.catalog });
    closers.push(() => jobs.close());
    return { jobs, queues, popularity, fills };
  }

  const settled = (id: number, gone: boolean, xid = 3n): SettledRow => ({
    table: 'users',
    tag: `users:${id}`,
    key: [String(id)],
    gone,
    xid,
  });
  const outcomesSince = (from: number, queue: string) => () =>
    world.observer
      .of('job.done')
      .slice(from)
      .flatMap(done => (done.queue === queue ? [done.outcome] : []));
  const doneSoFar = (): number => world.observer.of('job.done').length;
  const ids = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const warmed = (from: number) =>
    eventually('warmed up', outcomesSince(from, 'warm-up'), seen => seen.length > 0);

  test('warm up by remembered popularity, the most read first, with progress', async () => {
    await world.newEpoch();
    const from = doneSoFar();
    const progressFrom = world.observer.of('warm-up.progress').length;
    const popular = [31, 7, 22, 15, 9];
    const { fills } = await startWorker(namespace(), popular);
    expect(await warmed(from)).toEqual(['warmed']);
    expect(fills.map(Number)).toEqual(popular);
    expect(Object.keys(await world.cached(...ids(1, rows))).sort()).toEqual(
      popular.map(id => `users:${id}`).sort(),
    );
    expect(world.observer.of('warm-up.progress').slice(progressFrom).at(-1)).toEqual({
      type: 'warm-up.progress',
      resource: 'users',
      done: 5,
      total: 5,
    });
  });

  test('warm up in the order of the key where nothing is remembered, and no more than the top', async () => {
    await world.newEpoch();
    const from = doneSoFar();
    const { fills } = await startWorker(namespace());
    await warmed(from);
    expect(fills.map(Number)).toEqual(ids(1, top));
    expect(Object.keys(await world.cached(...ids(1, rows)))).toHaveLength(top);
  });

  test('warm up without asking the database for rows that are cached already', async () => {
    await world.newEpoch();
    const users = world.catalog.resources.get('users')!;
    for (const id of ids(1, top - 2)) await world.filler.fill(users, [String(id)]);
    const [from, loads] = [doneSoFar(), world.observer.of('origin.loaded').length];
    await startWorker(namespace());
    await warmed(from);
    expect(world.observer.of('origin.loaded').length - loads).toBe(2);
  });

  test('wait for a table to become cacheable', async () => {
    await world.newEpoch(false);
    const [from, failed] = [doneSoFar(), world.observer.of('job.failed').length];
    await startWorker(namespace());
    await eventually(
      'tried',
      () => world.observer.of('job.failed').length,
      seen => seen > failed,
    );
    await world.newEpoch();
    expect(await warmed(from)).toEqual(['warmed']);
  });

  test('rewarm a hot row after a change, and leave the others to their readers', async () => {
    await world.newEpoch();
    const startFrom = doneSoFar();
    const { jobs } = await startWorker(namespace(), [4, 5]);
    await warmed(startFrom);
    const from = doneSoFar();
    for (const id of [4, 25]) {
      await world.database.query("update users set name = 'changed' where id = $1", [id]);
      const { rows: found } = await world.database.query('select xmin::text from users where id = $1', [id]);
      const xid = BigInt(found[0].xmin);
      await world.store.event(`users:${id}`, [xid]);
      jobs.afterSettled(settled(id, false, xid));
    }
    await eventually('rewarmed', outcomesSince(from, 'rewarm'), seen => seen.length === 1);
    expect(await world.cached(4, 25)).toEqual({ 'users:4': { id: 4, name: 'changed' } });
  });

  test('free what is kept of a deleted row, twice with the same end', async () => {
    await world.newEpoch();
    const { jobs, popularity } = await startWorker(namespace(), [38, 39]);
    await eventually(
      'both cached',
      () => world.cached(38, 39),
      seen => Object.keys(seen).length === 2,
    );
    await world.database.query('delete from users where id = 38');
    const state = async () => [await world.cached(38, 39), await popularity.top('users', 10)];
    for (const xid of [900n, 901n]) {
      const from = doneSoFar();
      jobs.afterSettled(settled(38, true, xid));
      expect(
        await eventually('cleaned', outcomesSince(from, 'cleanup'), seen => seen.includes('freed')),
      ).toContain('freed');
      expect(await state()).toEqual([{ 'users:39': { id: 39, name: 'user 39' } }, ['users:39']]);
    }
  });

  test('leave alone what was deleted and is there again', async () => {
    await world.newEpoch();
    const { jobs, popularity } = await startWorker(namespace(), [30]);
    await eventually(
      'cached',
      () => world.cached(30),
      seen => 'users:30' in seen,
    );
    const from = doneSoFar();
    jobs.afterSettled(settled(30, true, 950n));
    await eventually('looked', outcomesSince(from, 'cleanup'), seen => seen.includes('there-again'));
    expect(await world.cached(30)).toEqual({ 'users:30': { id: 30, name: 'user 30' } });
    expect(await popularity.top('users', 10)).toEqual(['users:30']);
  });

  test('sweep up what no cleanup was told of, once for the whole fleet', async () => {
    await world.newEpoch();
    const space = namespace();
    const sweptFrom = world.observer.of('cleanup.swept').length;
    const first = await startWorker(space, [20, 1_000_001, 21, 1_000_002]);
    const swept = await eventually(
      'swept',
      () => world.observer.of('cleanup.swept').slice(sweptFrom),
      seen => seen.length > 0,
    );
    expect(swept).toEqual([{ type: 'cleanup.swept', freed: 2, looked: 4 }]);
    expect(await first.popularity.top('users', 10)).toEqual(['users:20', 'users:21']);
    await startWorker(space);
    const cleanups = first.queues.all.find(queue => queue.name === 'cleanup')!;
    expect(await cleanups.getJobSchedulersCount()).toBe(1);
    expect(
      (await cleanups.getJobs(['delayed', 'waiting', 'prioritized'])).filter(job => job.name === 'sweep'),
    ).toHaveLength(1);
  });

  test('do not run again what a change that is delivered again has already caused', async () => {
    await world.newEpoch();
    const { jobs, queues } = await startWorker(namespace(), [11]);
    const from = doneSoFar();
    jobs.afterSettled(settled(11, false));
    await eventually('rewarmed', outcomesSince(from, 'rewarm'), seen => seen.length === 1);
    const added = world.observer.of('job.added').length;
    jobs.afterSettled(settled(11, false));
    await eventually(
      'offered again',
      () => world.observer.of('job.added').length,
      seen => seen > added,
    );
    const rewarms = queues.all.find(queue => queue.name === 'rewarm')!;
    expect(await rewarms.getJobCounts('completed', 'waiting', 'active')).toEqual({
      completed: 1,
      waiting: 0,
      active: 0,
    });
  });
});
