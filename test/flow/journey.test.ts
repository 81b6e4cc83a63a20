import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const ROUNDS = 200;
/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;

describe('a row, from the first read to its deletion', () => {
  let world: World;
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table cities (id int primary key, name text, population int);
               insert into cities values (1, 'Paris', 100), (2, 'Lyon', 50), (3, 'Nice', 30);
               create table codes (a int, b text, note text, primary key (a, b));`,
      config: {
        resources: {
          cities: table('cities', { warmUp: { top: 0 } }),
          towns: table('cities', { columns: ['id', 'name'], warmUp: { top: 0 } }),
          codes: table('codes', { warmUp: { top: 0 } }),
        },
      },
    });
    await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  test('misses, hits, and is not sent again to who has it', async () => {
    const first = await api.get('/cities/1');
    expect(first.status).toBe(200);
    expect(first.headers['cache-status']).toBe('freshet; fwd=uri-miss; stored');
    expect(first.body).toBe('{"id":1,"name":"Paris","population":100}');

    const second = await api.get('/cities/1');
    expect(second.headers['cache-status']).toBe('freshet; hit');
    expect(second.body).toBe(first.body);
    expect(second.headers.etag).toBe(first.headers.etag);

    const third = await api.get('/cities/1', { 'If-None-Match': first.headers.etag! });
    expect(third.status).toBe(304);
    expect(third.headers.etag).toBe(first.headers.etag);
    expect(third.headers['cache-status']).toBe('freshet; hit');
    expect(third.body).toBe('');
  });

  test(`shows an edit made past the API within the bound, ${ROUNDS} times`, async () => {
    const outside = await world.database.connect();
    const lags: number[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      await api.get('/cities/2');
      await outside.query('update cities set population = $1 where id = 2', [1_000 + round]);
      const committedMs = performance.now();
      await eventually(
        `round ${round} is shown`,
        async () => (await api.get('/cities/2')).body,
        body => body.includes(`"population":${1_000 + round}}`),
        BOUND_MS,
      );
      lags.push(performance.now() - committedMs);
    }
    await outside.end();
    lags.sort((a, b) => a - b);
    const at = (part: number): string => lags[Math.min(ROUNDS - 1, Math.floor(ROUNDS * part))]!.toFixed(1);
    process.stdout.write(
      `commit → shown, ms: p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, most ${at(1)}\n`,
    );
  }, 60_000);

  test('fences every representation of the row', async () => {
    await api.get('/cities/3');
    const before = await api.get('/towns/3');
    await world.database.query(`update cities set name = 'Nizza' where id = 3`);
    for (const path of ['/cities/3', '/towns/3']) {
      await eventually(
        path,
        async () => (await api.get(path)).body,
        body => body.includes('Nizza'),
        BOUND_MS,
      );
    }
    expect((await api.get('/towns/3', { 'If-None-Match': before.headers.etag! })).status).toBe(200);
  });

  test('is 404 once it is deleted, and there again once it is inserted', async () => {
    await api.get('/cities/3');
    await world.database.query('delete from cities where id = 3');
    await eventually(
      '404',
      () => api.get('/cities/3'),
      answer => answer.status === 404,
      BOUND_MS,
    );
    const negative = await eventually(
      'the 404 is a hit',
      () => api.get('/cities/3'),
      answer => answer.headers['cache-status']!.includes('hit'),
    );
    expect(negative.status).toBe(404);
    await world.database.query(`insert into cities values (3, 'Nice', 31)`);
    await eventually(
      '200',
      () => api.get('/cities/3'),
      answer => answer.status === 200,
      BOUND_MS,
    );
  });

  test('answers under its new key only, once its key was changed', async () => {
    expect((await api.get('/codes/1,x')).status).toBe(404);
    await world.database.query(`insert into codes values (1, 'x', 'one')`);
    await eventually(
      '1,x',
      () => api.get('/codes/1,x'),
      answer => answer.status === 200,
      BOUND_MS,
    );
    expect((await api.get('/codes/2,y')).status).toBe(404);
    await world.database.query(`update codes set a = 2, b = 'y'`);
    await eventually(
      '1,x is gone',
      () => api.get('/codes/1,x'),
      answer => answer.status === 404,
      BOUND_MS,
    );
    await eventually(
      '2,y is there',
      () => api.get('/codes/2,y'),
      answer => answer.status === 200,
      BOUND_MS,
    );
  });

  test('is gone with all the others once the table is truncated', async () => {
    await world.database.query(`insert into codes values (7, 'z', 'seven')`);
    await eventually(
      '7,z',
      () => api.get('/codes/7,z'),
      answer => answer.status === 200,
      BOUND_MS,
    );
    await api.get('/codes/7,z');
    await world.database.query('truncate codes');
    await eventually(
      '404',
      () => api.get('/codes/7,z'),
      answer => answer.status === 404,
      BOUND_MS,
    );
  });

  test('is known under one spelling of its key', async () => {
    for (const path of ['/cities/01', '/cities/+1', '/cities/1.0', '/cities/%201']) {
      expect((await api.get(path)).status).toBe(404);
    }
  });
});
