import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { counted } from '../support/metrics.ts';
import { untilMode } from '../support/reading.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** What a loaded machine may take to send a request and to hear the answer. */
const SLACK_MS = 500;
const ROWS = 60;

const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
const config = defineConfig({
  resources: { places: table('places', cold), words: table('words', cold) },
});

const HIT = 'freshet; hit';
const CHECKED = 'freshet; hit; detail=GUARDED';
const REPLACED = 'freshet; fwd=stale; stored; detail=GUARDED';

/** The worker is stopped in its tracks again and again: nothing is settled, and nobody tells the API. */
describe('an API that hears nothing of the database', () => {
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;
  let nextRow = 0;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create type mood as enum ('calm', 'loud');
               create table places (id int primary key, name text, mood mood not null default 'calm');
               create table words (lang text, word text, meaning text, primary key (lang, word));
               insert into places select n, 'old' from generate_series(1, ${ROWS}) n;
               insert into words values ('en', 'it''s, {so}', 'old')`,
      config,
    });
    worker = await world.worker();
    api = await world.api();
  });
  beforeEach(async () => {
    worker.signal('SIGCONT');
    await untilMode(api, 'FRESH');
  });
  afterAll(() => world?.close());

  const outside = (sql: string, params: unknown[] = []): Promise<unknown> =>
    world.database.query(sql, params);
  const status = async (path: string, headers = {}): Promise<string> =>
    (await api.get(path, headers)).headers['cache-status']!;

  /** Rows that no other test has touched, cached while the API was FRESH. */
  async function cachedRows(count: number): Promise<string[]> {
    const paths = Array.from({ length: count }, (_, i) => `/places/${nextRow + i + 1}`);
    nextRow += count;
    for (const path of paths) await cache(path);
    return paths;
  }

  const cache = (path: string): Promise<unknown> =>
    eventually(
      `${path} is cached`,
      () => status(path),
      seen => seen === HIT || /^freshet; hit; ttl=\d+; detail=negative$/.test(seen),
    );

  async function stopWorker(): Promise<void> {
    worker.signal('SIGSTOP');
    await untilMode(api, 'GUARDED');
  }

  test('says so by itself within the bound, and is FRESH again by itself', async () => {
    const [path] = (await cachedRows(1)) as [string];
    worker.signal('SIGSTOP');
    const stoppedMs = performance.now();
    await eventually(
      'a hit is checked',
      () => status(path),
      seen => seen === CHECKED,
    );
    expect(performance.now() - stoppedMs).toBeLessThan(BOUND_MS + SLACK_MS);
    worker.signal('SIGCONT');
    await eventually(
      'a hit is a hit',
      () => status(path),
      seen => seen === HIT,
    );
  });

  test('serves what the database says is unchanged, and sends nothing to who has it', async () => {
    const [path] = (await cachedRows(1)) as [string];
    const cached = await api.get(path);
    await stopWorker();
    const loads = await counted(api, 'freshet_cache_origin_loads_total');
    const answer = await api.get(path);
    expect(answer.headers['cache-status']).toBe(CHECKED);
    expect(answer.body).toBe(cached.body);
    const conditional = await api.get(path, { 'If-None-Match': cached.headers.etag! });
    expect(conditional.status).toBe(304);
    expect(conditional.headers['cache-status']).toBe(CHECKED);
    expect(await counted(api, 'freshet_cache_origin_loads_total')).toBe(loads);
  });

  test('shows a change at once: edit, deletion, insertion, change of key', async () => {
    const [edited, deleted, moved] = (await cachedRows(3)) as [string, string, string];
    await cache('/places/7001');
    await cache('/places/7002');
    const { etag } = (await api.get(edited)).headers;
    await stopWorker();

    await outside(`update places set name = 'new' where id = $1`, [edited.slice(8)]);
    const answer = await api.get(edited, { 'If-None-Match': etag! });
    expect(answer.status).toBe(200);
    expect(answer.body).toContain('"name":"new"');
    expect(answer.headers['cache-status']).toBe(REPLACED);

    await outside('delete from places where id = $1', [deleted.slice(8)]);
    expect((await api.get(deleted)).status).toBe(404);

    await outside(`insert into places values (7001, 'new')`);
    expect((await api.get('/places/7001')).status).toBe(200);

    await outside('update places set id = 7002 where id = $1', [moved.slice(8)]);
    expect((await api.get('/places/7002')).status).toBe(200);
    expect((await api.get(moved)).status).toBe(404);
  });

  test('finds rows by composite keys of any text', async () => {
    const path = `/words/en,${encodeURIComponent("it's, {so}").replace("'", '%27')}`;
    await cache(path);
    await stopWorker();
    expect(await status(path)).toBe(CHECKED);
    await outside(`update words set meaning = 'new'`);
    await eventually(
      'the change is shown',
      () => api.get(path),
      ({ body }) => body.includes('"new"'),
      BOUND_MS + SLACK_MS,
    );
  });

  test('trusts what the database said of an entry no longer than the bound', async () => {
    const [path] = (await cachedRows(1)) as [string];
    await stopWorker();
    expect(await status(path)).toBe(CHECKED);
    await outside(`update places set name = 'new' where id = $1`, [path.slice(8)]);
    const changedMs = performance.now();
    await eventually(
      'the change is shown',
      () => api.get(path),
      ({ body }) => body.includes('"new"'),
    );
    expect(performance.now() - changedMs).toBeLessThan(BOUND_MS + SLACK_MS);
  });

  test('serves nothing that was cached under another definition, though the row is the same', async () => {
    const [path, other] = (await cachedRows(2)) as [string, string];
    await stopWorker();
    expect((await api.get(other)).body).toContain('"calm"');
    await outside(`alter type mood rename value 'calm' to 'quiet'`);
    const answer = await api.get(path);
    expect(answer.body).toContain('"mood":"quiet"');
    expect(answer.headers['cache-status']).not.toContain('hit');
    // What was filled meanwhile bears the old definition too: the next one asks again.
    expect(await status(path)).not.toContain('hit');
    worker.signal('SIGCONT');
    await untilMode(api, 'FRESH');
    for (const one of [path, other])
      await eventually(
        one,
        () => api.get(one),
        ({ body }) => body.includes('"quiet"'),
        BOUND_MS,
      );
  });

  test('serves nothing that was cached in another life of the database', async () => {
    const [path] = (await cachedRows(1)) as [string];
    await stopWorker();
    await outside('update freshet.alive set incarnation = gen_random_uuid()');
    const answer = await api.get(path);
    expect(answer.status).toBe(200);
    expect(answer.headers['cache-status']).toBe('freshet; fwd=uri-miss; detail=GUARDED/older_epoch');
    worker.signal('SIGCONT');
    await eventually(
      'a hit is a hit',
      () => status(path),
      seen => seen === HIT,
    );
  });

  test('is FRESH again behind a worker that was killed, and what changed meanwhile is shown', async () => {
    const [path] = (await cachedRows(1)) as [string];
    await worker.kill();
    await outside(`update places set name = 'new' where id = $1`, [path.slice(8)]);
    await untilMode(api, 'GUARDED');
    worker = await world.worker();
    await untilMode(api, 'FRESH');
    expect((await api.get(path)).body).toContain('"new"');
  });
});

describe('an API that hears everything', () => {
  let world: World;
  let worker: TestProcess;
  /** Calls a proof good for a minute, so that a stopped worker leaves it FRESH. */
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table places (id int primary key, name text);
               insert into places select n, 'old' from generate_series(1, 9) n`,
      config: defineConfig({ resources: { places: table('places', cold) } }),
    });
    worker = await world.worker();
    api = await world.api({ FRESHET_MAX_STALENESS_MS: '60000' });
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  test.each(['no-cache', 'max-age=0'])('asks the database all the same for who says %s', async directive => {
    const id = directive === 'no-cache' ? 1 : 2;
    const path = `/places/${id}`;
    await api.get(path);
    const demand = { 'Cache-Control': directive };
    expect((await api.get(path, demand)).headers['cache-status']).toBe(CHECKED);

    worker.signal('SIGSTOP');
    await world.database.query(`update places set name = 'new' where id = $1`, [id]);
    // Within the minute this is what the API may say, and whoever wants more may ask for it.
    expect((await api.get(path)).body).toContain('"old"');
    const answer = await api.get(path, demand);
    expect(answer.body).toContain('"new"');
    expect(answer.headers['cache-status']).toBe('freshet; fwd=stale; stored');
    const again = await api.get(path, { ...demand, 'If-None-Match': answer.headers.etag! });
    expect(again.status).toBe(304);
    expect(again.headers['cache-status']).toBe(CHECKED);
    worker.signal('SIGCONT');
  });
});
