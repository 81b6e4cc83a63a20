import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import pLimit from 'p-limit';
import { CacheConnection } from '../../shared/cache/connection.ts';
import { silentObserver } from '../../shared/observe.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { startTraffic, type Traffic } from '../support/certain-staleness.ts';
import { eventually } from '../support/eventually.ts';
import { counted } from '../support/metrics.ts';
import { openReading, type Reading, untilMode } from '../support/reading.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const ROWS = 8;
/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** What a hung cache may cost a request. */
const CACHE_TIMEOUT_MS = 100;
const SLACK_MS = 150;
/** Requests that one API process lets wait for the database; the ones beyond are told to come again. */
const MOST_WAITING = 2_000 + 16;

const config = defineConfig({
  resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
});

const BYPASS = 'freshet; fwd=bypass; detail=BYPASS';

let cache: TestServer;
let world: World;
let api: ApiProcess;

beforeAll(async () => {
  cache = await startRedis('cache');
  world = await openWorld({
    cacheUrl: cache.url,
    schema: `create table places (id int primary key, version int not null default 0);
             insert into places select n from generate_series(1, ${ROWS}) n`,
    config,
  });
  await world.worker();
  api = await world.api();
}, 60_000);
beforeEach(() => untilMode(api, 'FRESH'));
afterAll(async () => {
  await world?.close();
  await cache?.stop();
});

const status = async (path: string): Promise<string> => (await api.get(path)).headers['cache-status']!;
const version = async (id: number): Promise<number> =>
  (JSON.parse((await api.get(`/places/${id}`)).body) as { version: number }).version;
const edit = (id: number): Promise<unknown> =>
  world.database.query('update places set version = version + 1 where id = $1', [id]);

async function expectHits(): Promise<void> {
  await eventually(
    'a hit is a hit',
    () => status('/places/1'),
    seen => seen === 'freshet; hit',
    20_000,
  );
}

describe('a cache that was killed', () => {
  beforeEach(() => cache.kill());
  afterEach(async () => {
    await cache.restart();
    await expectHits();
  });

  test('leaves the database to answer, at once and truly', async () => {
    await untilMode(api, 'BYPASS');
    for (let round = 0; round < 20; round += 1) {
      await edit(2);
      const before = await world.database.query('select version from places where id = 2');
      const answer = await api.get('/places/2');
      expect(answer.headers['cache-status']).toBe(BYPASS);
      expect(answer.body).toBe(`{"id":2,"version":${(before.rows[0] as { version: number }).version}}`);
    }
    const answer = await api.get('/places/2');
    const again = await api.get('/places/2', { 'If-None-Match': answer.headers.etag! });
    expect(again.status).toBe(304);
    expect((await api.get('/places/404')).status).toBe(404);
  });

  test('costs one query for all who want a row before it was sent', async () => {
    await untilMode(api, 'BYPASS');
    const writer = await world.database.connect();
    await writer.query('begin; lock table places in access exclusive mode');
    const loads = await counted(api, 'freshet_cache_origin_loads_total');
    const answers = Array.from({ length: 300 }, () => api.get('/places/3'));
    await eventually('all have asked', () => connectionsOf(api), seen => seen >= 300);
    await writer.query('commit');
    await writer.end();
    for (const { headers } of await Promise.all(answers)) expect(headers['cache-status']).toBe(BYPASS);
    // One that was under way when the others came, one for all of those.
    expect((await counted(api, 'freshet_cache_origin_loads_total')) - loads).toBeLessThanOrEqual(2);
  });

  test('does not let everybody onto the database: beyond the cap they are told to come again', async () => {
    await untilMode(api, 'BYPASS');
    const writer = await world.database.connect();
    await writer.query('begin; lock table places in access exclusive mode');
    const beyond = 84;
    let refused = 0;
    const asked = Array.from({ length: MOST_WAITING + beyond }, async (_, i) => {
      const answer = await api.get(`/places/${1_000 + i}`);
      if (answer.status === 503) refused += 1;
      return answer;
    });
    await eventually(
      'those beyond the cap are answered',
      () => refused,
      seen => seen === beyond,
      20_000,
    );
    await writer.query('commit');
    await writer.end();
    const answers = await Promise.all(asked);
    for (const { headers, body } of answers.filter(answer => answer.status === 503)) {
      expect(Number(headers['retry-after'])).toBeGreaterThan(0);
      expect(headers['cache-status']).toBe('freshet; fwd=miss; detail=overloaded');
      expect(JSON.parse(body)).toMatchObject({ status: 503 });
    }
    expect(answers.filter(answer => answer.status === 404)).toHaveLength(MOST_WAITING);
  }, 60_000);
});

/** Requests that an API process is answering now. */
async function connectionsOf({ url }: ApiProcess): Promise<number> {
  const { readFileSync } = await import('node:fs');
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0');
  const established = / 01 /;
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter(line => line.trim().split(/\s+/)[1] === `0100007F:${port}` && established.test(line)).length;
}
