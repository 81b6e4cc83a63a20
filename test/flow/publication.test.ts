import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { warm } from '../support/gap.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
const PUBLICATION =
  'create publication freshet for table shores, dunes with (publish_via_partition_root = true)';

/** A change made while the table was not published never comes: only the digest tells that there may have been one. */
describe('a table that is taken out of the publication', () => {
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeAll(async () => {
    const options = { warmUp: { top: 0 }, rewarm: 'never' } as const;
    world = await openWorld({
      schema: `create table shores (id int primary key, n int, code int not null unique);
               insert into shores select n, 0, n from generate_series(1, 9) n;
               create table dunes (id int primary key, n int);
               insert into dunes values (1, 1)`,
      publication: PUBLICATION,
      config: { resources: { shores: table('shores', options), dunes: table('dunes', options) } },
    });
    worker = await world.worker();
    api = await world.api();
  });
  beforeEach(() => world.fresh(api));
  afterAll(() => world?.close());

  const shows = (id: number, n: number): Promise<unknown> =>
    eventually(
      `shore ${id} shows ${n}`,
      () => api.get(`/shores/${id}`),
      answer => answer.body === JSON.stringify({ id, n, code: id }),
      BOUND_MS,
    );

  const unseen: readonly [what: string, id: number, before: string, after: string][] = [
    [
      'dropped and added again',
      1,
      'alter publication freshet drop table shores',
      'alter publication freshet add table shores',
    ],
    [
      'not published with updates for a while',
      2,
      `alter publication freshet set (publish = 'insert, delete, truncate')`,
      `alter publication freshet set (publish = 'insert, update, delete, truncate')`,
    ],
    ['in a publication that was made anew', 3, 'drop publication freshet', PUBLICATION],
    [
      'filtered for a while',
      4,
      'alter publication freshet set table shores where (id > 100), dunes',
      'alter publication freshet set table shores, dunes',
    ],
  ];

  test.each(unseen)('%s, in one transaction with a change in between', async (_what, id, before, after) => {
    const old = await warm(api, `/shores/${id}`);
    await world.database.query(
      `begin; ${before}; update shores set n = 1 where id = ${id}; ${after}; commit`,
    );
    await shows(id, 1);
    expect((await api.get(`/shores/${id}`, { 'If-None-Match': old.headers.etag! })).status).toBe(200);
    await warm(api, `/shores/${id}`);
  });

  test.each(unseen)('%s, between two beats with a change in between', async (_what, id, before, after) => {
    const old = await warm(api, `/shores/${id}`);
    // The worker writes the beats: while it stands still there is none.
    worker.signal('SIGSTOP');
    try {
      for (const statement of [before, `update shores set n = 2 where id = ${id}`, after]) {
        await world.database.query(statement);
      }
    } finally {
      worker.signal('SIGCONT');
    }
    await shows(id, 2);
    await world.fresh(api);
    await shows(id, 2);
    expect((await api.get(`/shores/${id}`, { 'If-None-Match': old.headers.etag! })).status).toBe(200);
    expect((await warm(api, `/shores/${id}`)).body).toBe(JSON.stringify({ id, n: 2, code: id }));
  });

  const notCacheable: readonly [what: string, ddl: string, back: string][] = [
    ['for good', 'alter publication freshet drop table shores', 'alter publication freshet add table shores'],
    [
      'as far as deletes go',
      `alter publication freshet set (publish = 'insert, update, truncate')`,
      `alter publication freshet set (publish = 'insert, update, delete, truncate')`,
    ],
    [
      'in effect, by another replica identity',
      'alter table shores replica identity using index shores_code_key',
      'alter table shores replica identity default',
    ],
  ];

  test.each(notCacheable)('%s, is answered from the database, and right', async (_what, ddl, back) => {
    await warm(api, '/shores/9');
    await world.database.query(ddl);
    await eventually(
      'not cached',
      () => api.get('/shores/9'),
      answer => answer.headers['cache-status']!.includes('not_cacheable'),
      BOUND_MS,
    );
    await world.fresh(api);
    for (const n of [7, 8, 9]) {
      await world.database.query('update shores set n = $1 where id = 9', [n]);
      const answer = await api.get('/shores/9');
      expect([answer.body, answer.headers['cache-status']]).toEqual([
        JSON.stringify({ id: 9, n, code: 9 }),
        'freshet; fwd=uri-miss; detail=not_cacheable',
      ]);
    }
    await world.database.query(back);
    expect((await warm(api, '/shores/9')).body).toBe(JSON.stringify({ id: 9, n: 9, code: 9 }));
    await world.database.query('update shores set n = 10 where id = 9');
    await shows(9, 10);
  });

  test('and put back, is not cached while a transaction of before may still change it unannounced', async () => {
    await warm(api, '/shores/8');
    const writer = await world.database.connect();
    try {
      await world.database.query('alter publication freshet drop table shores');
      await eventually(
        'not cached',
        () => api.get('/shores/8'),
        answer => answer.headers['cache-status']!.includes('not_cacheable'),
        BOUND_MS,
      );
      // Written while the table is not published: no event of it will ever come, whenever it commits.
      await writer.query('begin; update shores set n = 8 where id = 8');
      await world.database.query('alter publication freshet add table shores');
      await world.fresh(api);
      const generation = async (): Promise<string> =>
        (await world.store.control())!.tables.get('shores')!.generation;
      const before = await generation();
      // The worker has looked at the definition again once a row of another table went through it.
      await world.database.query('update dunes set n = n + 1');
      await eventually(
        'a round of the worker',
        () => api.get('/dunes/1'),
        answer => answer.body.includes('"n":2'),
        BOUND_MS,
      );
      expect((await api.get('/shores/8')).headers['cache-status']).toContain('not_cacheable');
      await writer.query('commit');
      await eventually('a generation that may be cached', generation, seen => seen !== before);
    } finally {
      await writer.end();
    }
    expect((await warm(api, '/shores/8')).body).toBe(JSON.stringify({ id: 8, n: 8, code: 8 }));
  });

  test('leaves the others in it cached', async () => {
    const { headers } = await warm(api, '/dunes/1');
    await world.database.query('alter publication freshet drop table shores');
    await eventually(
      'shores are not cached',
      () => api.get('/shores/9'),
      answer => answer.headers['cache-status']!.includes('not_cacheable'),
      BOUND_MS,
    );
    const again = await api.get('/dunes/1', { 'If-None-Match': headers.etag! });
    expect([again.status, again.headers['cache-status']]).toEqual([304, 'freshet; hit']);
  });
});
