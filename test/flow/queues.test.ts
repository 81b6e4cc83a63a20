import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { FreshetError } from '../../shared/errors.ts';
import { Outbox } from '../../shared/queue/outbox.ts';
import { openPopularity } from '../../shared/queue/popularity.ts';
import { type Handlers, openQueues, type Queues } from '../../shared/queue/queues.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { concurrency } from '../../workers/jobs/index.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { recordingObserver } from '../support/recording-observer.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const url = process.env.TEST_QUEUE_REDIS_URL!;

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
    const least = [25, 50, 100];
    expect(pauses.filter((pauseMs, i) => pauseMs < least[i]! - 2)).toEqual([]);
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
        'warm-up': async (_payload, run) => {
          resumed.resolve([run.attempt, run.progress]);
          return 'warmed';
        },
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
    queues.work({ ...noHandlers, cleanup: async ({ tag }) => `done ${ran.push(tag)}` }, concurrency);
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
    const popularity = openPopularity({ url: server.url, keys: keysOf('freshet:n'), observer });
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
    expect(performance.now() - startMs).toBeLessThan(2_000);
    await server.restart();
  });

  test('does not stop the counting of reads; what was merged before is remembered, the rest merged after', async () => {
    const limits = { mergeEveryMs: 20 };
    const [one, two] = [1, 2].map(() =>
      openPopularity({ url: server.url, keys: keysOf('freshet:n'), observer: recordingObserver(), limits }),
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
    for (const id of [5, 5, 5, 5, 5, 5, 5, 5, 6]) two!.count('users', `users:${id}`);
    await server.restart();
    const tags = await eventually('remembered and merged', rank, seen => seen.includes('users:5'));
    expect(tags.slice(0, 4)).toEqual(['users:5', 'users:1', 'users:3', 'users:2']);
  });
});
