import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { FreshetError } from '../../shared/errors.ts';
import type { FillResult } from '../../shared/fill/lease-and-fill.ts';
import { Outbox } from '../../shared/queue/outbox.ts';
import { openPopularity, type Popularity } from '../../shared/queue/popularity.ts';
import { type Handlers, openQueues, type Queues } from '../../shared/queue/queues.ts';
import { concurrency } from '../../workers/jobs/index.ts';
import { type Jobs, startJobs } from '../../workers/jobs/start.ts';
import type { SettledRow } from '../../workers/settled.ts';
import { eventually } from '../support/eventually.ts';
import { type JobWorld, openJobWorld } from '../support/job-world.ts';
import { namespace } from '../support/namespace.ts';
import { recordingObserver } from '../support/recording-observer.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const url = process.env.TEST_QUEUE_REDIS_URL!;
const rows = 40;
const top = 12;

const unused = async (): Promise<string> => 'unused';
const noHandlers: Handlers = { rewarm: unused, cleanup: unused, sweep: unused, 'warm-up': unused };
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function queuesIn(space: string, observer = recordingObserver(), at = url): Promise<Queues> {
  const queues = await openQueues({ url: at, namespace: space, observer });
  closers.push(() => queues.close());
  return queues;
}

describe('the queue Redis', () => {
  test.each([
    ['asked by CONFIG', {}],
    ['where CONFIG is forbidden', { 'rename-command': 'CONFIG ""' }],
  ])('is refused when it may evict, %s', async (_how, settings) => {
    const server = await startRedis('queue', {
      settings: { 'maxmemory-policy': 'allkeys-lru', ...settings },
    });
    closers.push(() => server.stop());
    const opening = openQueues({ url: server.url, namespace: 'n', observer: recordingObserver() });
    await expect(opening).rejects.toThrow(
      expect.objectContaining({
        code: 'queue-redis-evicts',
        message: expect.stringContaining('"allkeys-lru", expected "noeviction"'),
        hint: expect.stringContaining('QUEUE_REDIS_URL'),
      }),
    );
  });

  test('may be away at the start: the process goes on, and jobs run when it comes', async () => {
    const server = await startRedis('queue');
    closers.push(() => server.stop());
    await server.halt();
    const observer = recordingObserver();
    const queues = await queuesIn('n', observer, server.url);
    const outbox = new Outbox(queues, observer);
    closers.push(() => outbox.close());
    queues.work({ ...noHandlers, cleanup: async () => 'done' }, concurrency);
    outbox.offer('cleanup', { tag: 'users:1', xid: '1' });
    await server.restart();
    await eventually(
      'job done',
      () => observer.of('job.done'),
      done => done.length === 1,
    );
  });

  test('is shared by instances with different namespaces that do not see each other', async () => {
    const [mine, theirs] = [recordingObserver(), recordingObserver()];
    const [here, there] = [await queuesIn(namespace(), mine), await queuesIn(namespace(), theirs)];
    for (const queues of [here, there])
      queues.work({ ...noHandlers, cleanup: async ({ tag }) => tag }, concurrency);
    const outbox = new Outbox(here, mine);
    closers.push(() => outbox.close());
    outbox.offer('cleanup', { tag: 'users:1', xid: '1' });
    await eventually(
      'job done',
      () => mine.of('job.done'),
      done => done.length === 1,
    );
    expect(theirs.of('job.done')).toEqual([]);
  });
});

describe('a job', () => {
  test('that fails is tried again with back-off, and kept when it is dead', async () => {
    const [space, observer] = [namespace(), recordingObserver()];
    const queues = await queuesIn(space, observer);
    const startedMs: number[] = [];
    const rewarm = async (): Promise<string> => {
      startedMs.push(performance.now());
      throw new FreshetError({ code: 'no', message: 'not now', retryable: startedMs.length < 4 });
    };
    queues.work({ ...noHandlers, rewarm }, concurrency);
    const outbox = new Outbox(queues, observer);
    closers.push(() => outbox.close());
    outbox.offer('rewarm', { resource: 'users', tag: 'users:1', xid: '1' });
    const failures = await eventually(
      'dead',
      () => observer.of('job.failed'),
      seen => seen.some(one => one.dead),
    );
    expect(failures.map(({ attempt, dead }) => [attempt, dead])).toEqual([
      [1, false],
      [2, false],
      [3, false],
      [4, true],
    ]);
    const pauses = startedMs.slice(1).map((ms, i) => ms - startedMs[i]!);
    [25, 50, 100].forEach((leastMs, i) => expect(pauses[i]).toBeGreaterThanOrEqual(leastMs - 2));
    const dead = await queues.all.find(queue => queue.name === 'rewarm')!.getFailed();
    expect(dead.map(job => [job.data, job.failedReason])).toEqual([
      [{ resource: 'users', tag: 'users:1', xid: '1' }, 'not now'],
    ]);
  });

  test('with a payload that nobody here wrote is dead at once, and says so', async () => {
    const [space, observer] = [namespace(), recordingObserver()];
    const queues = await queuesIn(space, observer);
    queues.work(noHandlers, concurrency);
    await queues.all[0]!.add('rewarm', { row: { id: 1 } }, { attempts: 5 });
    await queues.all[0]!.add('paint', {}, { attempts: 5 });
    const failures = await eventually(
      'both dead',
      () => observer.of('job.failed'),
      seen => seen.length === 2,
    );
    expect(failures.map(({ dead, error }) => [dead, (error as FreshetError).code]).sort()).toEqual([
      [true, 'bad-payload'],
      [true, 'unknown-job'],
    ]);
  });

  test('for a row that changes several times while it runs, runs once more, and sees the newest', async () => {
    const [space, observer] = [namespace(), recordingObserver()];
    const queues = await queuesIn(space, observer);
    let version = 1;
    const seen: number[] = [];
    const gate = Promise.withResolvers<void>();
    const rewarm = async (): Promise<string> => {
      seen.push(version);
      if (seen.length === 1) await gate.promise;
      return 'stored';
    };
    queues.work({ ...noHandlers, rewarm }, concurrency);
    const outbox = new Outbox(queues, observer, { lingerMs: 0 });
    closers.push(() => outbox.close());
    const changed = async (): Promise<void> => {
      const before = observer.of('job.added').length;
      outbox.offer('rewarm', { resource: 'users', tag: 'users:1', xid: String(++version) });
      await eventually(
        'queued',
        () => observer.of('job.added').length,
        added => added > before,
      );
    };
    await changed();
    await eventually(
      'running',
      () => seen.length,
      runs => runs === 1,
    );
    for (let i = 0; i < 5; i++) await changed();
    expect(seen).toEqual([2]);
    gate.resolve();
    await eventually(
      'once more',
      () => observer.of('job.done'),
      done => done.length === 2,
    );
    const rewarms = queues.all.find(queue => queue.name === 'rewarm')!;
    await eventually(
      'nothing left',
      () => rewarms.getJobCounts(),
      ({ waiting, active, delayed }) => waiting! + active! + delayed! === 0,
    );
    expect(seen).toEqual([2, 7]);
  });

  test('that is long gives way when the process stops, and goes on elsewhere where it was', async () => {
    const [space, observer] = [namespace(), recordingObserver()];
    const first = await openQueues({ url, namespace: space, observer });
    const saved = Promise.withResolvers<void>();
    const longJob: Handlers['warm-up'] = async (_payload, run) => {
      await run.saveProgress({ done: 300, total: 900 });
      saved.resolve();
      await new Promise((_, reject) => run.signal.addEventListener('abort', () => reject(run.signal.reason)));
      return 'never';
    };
    first.work({ ...noHandlers, 'warm-up': longJob }, concurrency);
    const outbox = new Outbox(first, observer);
    outbox.offer('warm-up', { resource: 'users', start: 'a' });
    await saved.promise;
    await outbox.close();
    await first.close();
    expect(observer.of('job.failed')).toEqual([]);

    const second = await queuesIn(space, observer);
    const resumed = Promise.withResolvers<unknown>();
    second.work(
      {
        ...noHandlers,
        'warm-up': async (_payload, run) => (resumed.resolve([run.attempt, run.progress]), 'warmed'),
      },
      concurrency,
    );
    expect(await resumed.promise).toEqual([1, { done: 300, total: 900 }]);
    await eventually(
      'done',
      () => observer.of('job.done'),
      done => done.length === 1,
    );
  });
});

describe('a queue Redis that goes away', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis('queue');
  });
  afterAll(() => server.stop());

  test('costs jobs only: offering never waits, drops are counted, and all goes on by itself', async () => {
    const observer = recordingObserver();
    const queues = await queuesIn('n', observer, server.url);
    const ran: string[] = [];
    queues.work({ ...noHandlers, cleanup: async ({ tag }) => (ran.push(tag), 'done') }, concurrency);
    const outbox = new Outbox(queues, observer, { capacity: 50 });
    closers.push(() => outbox.close());
    outbox.offer('cleanup', { tag: 'users:0', xid: '1' });
    await eventually(
      'first job',
      () => ran.length,
      count => count === 1,
    );

    await server.kill();
    await eventually(
      'loss told',
      () => observer.of('redis.lost').length,
      lost => lost > 0,
    );
    const startMs = performance.now();
    for (let id = 1; id <= 10_000; id++) outbox.offer('cleanup', { tag: `users:${id}`, xid: '1' });
    expect(performance.now() - startMs).toBeLessThan(500);
    expect(outbox.size).toBe(50);
    await eventually(
      'drops told',
      () => observer.of('job.dropped').reduce((sum, { count }) => sum + count, 0),
      sum => sum === 9_950,
    );

    await server.restart();
    await eventually(
      'what was kept has run',
      () => ran.length,
      count => count === 51,
      20_000,
    );
    outbox.offer('cleanup', { tag: 'users:77777', xid: '1' });
    await eventually(
      'new jobs run',
      () => ran,
      seen => seen.includes('users:77777'),
    );
  });

  test('does not keep a process from stopping', async () => {
    const observer = recordingObserver();
    const queues = await openQueues({ url: server.url, namespace: 'n2', observer });
    queues.work(noHandlers, concurrency);
    const popularity = openPopularity({ url: server.url, keys: world.keys, observer });
    await eventually(
      'connected',
      () => observer.of('redis.connected').length,
      count => count === 2,
    );
    await server.kill();
    await eventually(
      'loss told',
      () => observer.of('redis.lost').length,
      lost => lost > 0,
    );
    const startMs = performance.now();
    await Promise.all([queues.close(), popularity.close()]);
    expect(performance.now() - startMs).toBeLessThan(7_000);
    await server.restart();
  });

  test('keeps counting within bounds, and merges when it is back; remembers over its own restart', async () => {
    const limits = { mergeEveryMs: 20, rowsCounted: 3 };
    const [one, two] = [1, 2].map(() =>
      openPopularity({ url: server.url, keys: world.keys, observer: recordingObserver(), limits }),
    );
    closers.push(
      () => one!.close(),
      () => two!.close(),
    );
    const rank = () => one!.top('users', 10);
    for (const [id, reads] of [
      [1, 6],
      [2, 2],
    ] as const)
      for (let i = 0; i < reads; i++) one!.count('users', `users:${id}`);
    for (let i = 0; i < 4; i++) two!.count('users', 'users:3');
    await eventually('merged', rank, tags => tags.length === 3);
    await server.kill();
    for (const id of [5, 5, 5, 5, 5, 5, 5, 5, 6, 7, 8, 9]) two!.count('users', `users:${id}`);
    await server.restart();
    const tags = await eventually('remembered and merged', rank, seen => seen.includes('users:5'));
    expect(tags.slice(0, 4)).toEqual(['users:5', 'users:1', 'users:3', 'users:2']);
    expect(tags).not.toContain('users:9');
  });
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
      fill: (resource, key, options): Promise<FillResult> => (
        fills.push(key), world.filler.fill(resource, key, options)
      ),
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
    await world.store.connection.call('DEL', world.keys.control);
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
    const { jobs } = await startWorker(namespace(), [4, 5]);
    await warmed(0);
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
