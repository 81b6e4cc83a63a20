import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import pLimit from 'p-limit';
import { CacheConnection } from '../../shared/cache/connection.ts';
import { silentObserver } from '../../shared/observe.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { type Judged, startTraffic } from '../support/certain-staleness.ts';
import { eventually } from '../support/eventually.ts';
import { openReading, untilMode } from '../support/reading.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const ROWS = 8;
/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** What a hung cache may cost a request. */
const CACHE_TIMEOUT_MS = 100;
/** What a loaded machine may take for the rest of it. */
const SLACK_MS = 250;

const config = defineConfig({
  resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
});

const HIT = 'freshet; hit';
const BYPASS = 'freshet; fwd=bypass; detail=BYPASS';

let cache: TestServer;
let world: World;
let api: ApiProcess;

beforeAll(async () => {
  cache = await startRedis('cache');
  world = await openWorld({
    cacheUrl: cache.url,
    schema: `create table places (id int primary key, version int not null default 0);
             insert into places select n, 0 from generate_series(1, ${ROWS}) n`,
    config,
  });
  await world.worker();
  api = await world.api();
}, 60_000);
beforeEach(() => untilHits());
afterAll(async () => {
  wake();
  await world?.close();
  await cache?.stop();
});

function wake(): void {
  try {
    process.kill(cache.pid, 'SIGCONT');
  } catch {
    // A test that failed has left it dead, not hung.
  }
}

const edit = (id: number): Promise<unknown> =>
  world.database.query('update places set version = version + 1 where id = $1', [id]);
const bodyNow = async (id: number): Promise<string> => {
  const { rows } = await world.database.query('select version from places where id = $1', [id]);
  return `{"id":${id},"version":${(rows[0] as { version: number }).version}}`;
};

async function untilHits(): Promise<void> {
  await eventually(
    'a hit is a hit',
    async () => (await api.get('/places/1')).headers['cache-status'],
    seen => seen === HIT,
    20_000,
  );
}

describe('a cache that was killed', () => {
  beforeEach(async () => {
    await cache.kill();
    await untilMode(api, 'BYPASS');
  });
  afterEach(async () => {
    await cache.restart();
    await untilHits();
  });

  test('leaves the database to answer, and truly', async () => {
    for (let round = 0; round < 20; round += 1) {
      await edit(2);
      const answer = await api.get('/places/2');
      expect(answer.headers['cache-status']).toBe(BYPASS);
      expect(answer.body).toBe(await bodyNow(2));
      const conditional = await api.get('/places/2', { 'If-None-Match': answer.headers.etag! });
      expect(conditional.status).toBe(304);
    }
    expect((await api.get('/places/404')).status).toBe(404);
  });

  test('costs one query for all who asked before it was sent, and one for all who came later', async () => {
    const reading = await openReading(world, config);
    const [places, reader] = [reading.resource('places'), reading.reader()];
    const before = reading.sessions.statements.length;
    const held = reading.sessions.holdNext();
    const early = Array.from({ length: 100 }, () => reader.read(places, ['3']));
    await held.answered;
    await edit(3);
    const late = Array.from({ length: 100 }, () => reader.read(places, ['3']));
    await new Promise(setImmediate);
    expect(reading.sessions.statements.length - before).toBe(1);
    held.release();
    const answers = await Promise.all([...early, ...late]);
    expect(reading.sessions.statements.length - before).toBe(2);
    expect(new Set(answers.map(({ mode, result }) => `${mode} ${result}`))).toEqual(
      new Set(['BYPASS bypass']),
    );
    for (const { body } of answers.slice(100)) expect(body.toString()).toBe(await bodyNow(3));
    await reading.close();
  });

  test('lets no more onto the database than its cap: those beyond are refused at once', async () => {
    const reading = await openReading(world, config);
    const places = reading.resource('places');
    const reader = reading.reader({ limit: pLimit(2), mostWaiting: 3 });
    const held = [reading.sessions.holdNext(), reading.sessions.holdNext()];
    const asked = ['1', '2', '3', '4', '5'].map(key => reader.read(places, [key]));
    await Promise.all(held.map(({ answered }) => answered));
    await expect(reader.read(places, ['6'])).rejects.toMatchObject({ code: 'overloaded', retryable: true });
    // Who wants a row that somebody waits for already takes no room.
    const shared = reader.read(places, ['5']);
    for (const { release } of held) release();
    expect((await Promise.all([...asked, shared])).every(({ found }) => found)).toBe(true);
    expect((await reader.read(places, ['6'])).found).toBe(true);
    await reading.close();
  });
});

describe('a cache that hangs', () => {
  afterEach(wake);

  test('costs a request its time-out and no more, whatever the mode', async () => {
    process.kill(cache.pid, 'SIGSTOP');
    for (let round = 0; round < 20; round += 1) {
      await edit(4);
      const startMs = performance.now();
      const answer = await api.get('/places/4');
      expect(performance.now() - startMs).toBeLessThan(CACHE_TIMEOUT_MS + SLACK_MS);
      expect(answer.headers['cache-status']).toBe(BYPASS);
      expect(answer.body).toBe(await bodyNow(4));
    }
    process.kill(cache.pid, 'SIGCONT');
    await untilHits();
  });

  test('is not what a process that is busy itself takes it for', async () => {
    const connection = new CacheConnection({
      url: cache.url,
      controlKey: world.store.keys.control,
      commandTimeoutMs: 20,
      observer: silentObserver,
    });
    await connection.open();
    const answers = Promise.all([
      connection.call('PING'),
      connection.run('event', 'no such row', '3'),
      connection.readHashes([['no such row', 'b']]),
    ]);
    // The answers come, the timers fall due, and the process sees neither before it has finished this.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    expect(await answers).toEqual(['PONG', 'absent', [[null]]]);

    process.kill(cache.pid, 'SIGSTOP');
    await expect(connection.call('PING')).rejects.toMatchObject({
      code: 'cache-unavailable',
      retryable: true,
    });
    await connection.close();
  });
});

describe('a cache that serves reads and refuses writes', () => {
  let operator: Redis;

  beforeAll(() => {
    operator = new Redis(cache.url);
  });
  afterAll(() => operator.disconnect());

  async function expectProofToEnd(): Promise<void> {
    await untilMode(api, 'GUARDED');
    for (const id of [5, 6]) {
      await edit(id);
      await eventually(
        'the edit is shown',
        async () => (await api.get(`/places/${id}`)).body,
        body => body === `{"id":${id},"version":1}`,
        BOUND_MS,
      );
    }
  }

  test('because its memory is full: no nonce gets through, and the proof ends', async () => {
    for (const id of [5, 6]) await api.get(`/places/${id}`);
    await operator.config('SET', 'maxmemory-policy', 'noeviction');
    await operator.config('SET', 'maxmemory', '1mb');
    await expectProofToEnd();
    await operator.config('SET', 'maxmemory', '256mb');
    await operator.config('SET', 'maxmemory-policy', 'allkeys-lfu');
    await untilHits();
  });

  test('because it cannot save: no event gets through either, and the proof ends', async () => {
    await world.database.query('update places set version = 0 where id in (5, 6)');
    for (const id of [5, 6]) await api.get(`/places/${id}`);
    const mend = await breakSaving(operator);
    await expectProofToEnd();
    await mend();
    await untilHits();
  });
});

test('a stale answer is never given, while all of this happens and writers write', async () => {
  const operator = new Redis(cache.url);
  operator.on('error', () => {});
  const traffic = await startTraffic(world, api, ROWS);
  const isDegraded = ({ cacheStatus }: Judged): boolean => /BYPASS|GUARDED/.test(cacheStatus);
  const isHit = ({ cacheStatus }: Judged): boolean => cacheStatus === HIT;
  /** Waits until so many answers of that kind have been given from now on. */
  const until = (what: string, kind: (answer: Judged) => boolean, count: number): Promise<unknown> => {
    const from = traffic.judged.length;
    const seen = (): number => traffic.judged.slice(from).filter(kind).length;
    return eventually(what, seen, answers => answers >= count, 20_000);
  };

  const faults: [what: string, harm: () => unknown, heal?: () => unknown][] = [
    ['killed', () => cache.kill(), () => cache.restart()],
    ['hung', () => process.kill(cache.pid, 'SIGSTOP'), () => process.kill(cache.pid, 'SIGCONT')],
    [
      'full',
      () => operator.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1mb'),
      () => operator.config('SET', 'maxmemory', '256mb', 'maxmemory-policy', 'allkeys-lfu'),
    ],
    ['emptied', () => operator.flushall()],
    ['cut off', () => operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')],
  ];
  try {
    for (const [what, harm, heal] of faults) {
      await until(`hits before it is ${what}`, isHit, 100);
      await harm();
      // What is over at once may be over before anybody has noticed.
      if (heal) await until(`it is noticed that it is ${what}`, isDegraded, 50);
      await heal?.();
      await until(`hits after it was ${what}`, isHit, 100);
    }
  } finally {
    await traffic.stop();
    operator.disconnect();
  }
  expect(traffic.judged.filter(({ status }) => status !== 200)).toEqual([]);
  expect(traffic.judged.filter(({ staleMs }) => staleMs >= BOUND_MS)).toEqual([]);
}, 90_000);

/** Makes the server's snapshots fail: from then on it refuses every write. Returns what mends it. */
async function breakSaving(operator: Redis): Promise<() => Promise<void>> {
  // A folder stands where the file is to be.
  const obstacle = join(dirname(cache.logFile), 'data', 'dump.rdb');
  const saved = (result: string): Promise<unknown> =>
    eventually(
      `the last snapshot is ${result}`,
      () => operator.info('persistence'),
      info => info.includes(`rdb_last_bgsave_status:${result}`) && info.includes('rdb_bgsave_in_progress:0'),
    );
  mkdirSync(join(obstacle, 'in the way'), { recursive: true });
  await operator.config('SET', 'save', '3600 1');
  await operator.bgsave();
  await saved('err');
  await expect(operator.set('x', '1')).rejects.toThrow('MISCONF');
  return async () => {
    rmdirSync(join(obstacle, 'in the way'));
    rmdirSync(obstacle);
    await operator.bgsave();
    await saved('ok');
    await operator.config('SET', 'save', '');
  };
}
