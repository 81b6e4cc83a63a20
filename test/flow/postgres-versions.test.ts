import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { diagnose, runInit, whatIn } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { warm } from '../support/gap.ts';
import { type PostgresMajor, postgresOf } from '../support/postgres-versions.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;
/** The first of them is fetched, when it is not there yet. */
const START_LIMIT_MS = 180_000;
/** From here on the log is read past changes that were written while there was no publication. */
const SKIPS_MISSING_PUBLICATIONS = 18;

const options = { warmUp: { top: 0 } } as const;
const SCHEMA = `
  create type mood as enum ('ok', 'bad');
  create table cities (id int primary key, name text, m mood);
  insert into cities select n, 'city ' || n, 'ok' from generate_series(1, 20) n;
  create table codes (a int, b text, note text, primary key (a, b));
  insert into codes values (1, 'x', 'one');
  create table parts (id int primary key, n int) partition by range (id);
  create table parts_low partition of parts for values from (0) to (100);
  insert into parts values (1, 1);
  create table users (id serial primary key, name text)`;
const CONFIG = {
  resources: {
    cities: table('cities', options),
    codes: table('codes', options),
    parts: table('parts', options),
    users: table('users', { ...options, write: 'cache-aside', readOnly: ['id'] }),
  },
};

describe.each([14, 15, 16, 17] satisfies PostgresMajor[])('Postgres %s', major => {
  let server: TestServer;
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeAll(async () => {
    server = await startPostgres({ installation: await postgresOf(major) });
    world = await openWorld({ databaseUrl: server.url, schema: SCHEMA, config: CONFIG });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  }, START_LIMIT_MS);
  afterAll(async () => {
    await world?.close();
    await server?.stop();
  });

  const query = (sql: string): Promise<unknown> => world.database.query(sql);
  const shows = (path: string, part: string): Promise<unknown> =>
    eventually(
      `${path} shows ${part}`,
      () => api.get(path),
      answer => answer.body.includes(part),
      BOUND_MS,
    );
  const isGone = (path: string): Promise<unknown> =>
    eventually(
      path,
      () => api.get(path),
      answer => answer.status === 404,
      BOUND_MS,
    );

  test('is what runs, and doctor finds nothing missing', async () => {
    const { rows } = await world.database.query('show server_version');
    expect(rows[0].server_version).toMatch(new RegExp(`^${major}\\.`));
    const found = await diagnose({
      DATABASE_URL: world.database.url,
      FRESHET_NAMESPACE: world.namespace.slice('freshet:'.length),
    });
    expect({ code: found.code, lacks: found.lacks }).toEqual({ code: 0, lacks: [] });
  });

  test('edits made past the API are shown', async () => {
    for (let round = 1; round <= 20; round += 1) {
      await warm(api, `/cities/${round}`);
      await query(`update cities set name = 'edited ${round}' where id = ${round}`);
      await shows(`/cities/${round}`, `edited ${round}`);
    }
    await warm(api, '/parts/1');
    await query('update parts set n = 2');
    await shows('/parts/1', '"n":2');
  });

  test('writes through the API are conditional', async () => {
    const created = await api.send('POST', '/users', { name: 'Ada' });
    expect(created.status).toBe(201);
    const path = created.headers.location!;
    const { headers } = await warm(api, path);
    const changed = await api.send('PATCH', path, { name: 'Grace' }, { 'If-Match': headers.etag! });
    expect(changed.status).toBe(200);
    const late = await api.send('PATCH', path, { name: 'Joan' }, { 'If-Match': headers.etag! });
    expect(late.status).toBe(412);
    expect((await api.send('DELETE', path)).status).toBe(204);
    await isGone(path);
  });

  test('a changed key, a deletion and a truncation are followed', async () => {
    await warm(api, '/codes/1,x');
    await query(`update codes set a = 2`);
    await isGone('/codes/1,x');
    await shows('/codes/2,x', 'one');
    await query('delete from cities where id = 20');
    await isGone('/cities/20');
    await query('truncate codes');
    await isGone('/codes/2,x');
  });

  test('changed definitions are noticed', async () => {
    await warm(api, '/cities/1');
    await query(`alter type mood rename value 'ok' to 'fine'`);
    await shows('/cities/1', '"m":"fine"');
    await warm(api, '/cities/1');
    await query('alter table cities add column extra int not null default 7');
    await shows('/cities/1', '"extra":7');
  });

  test('what was written while its table was not published is shown', async () => {
    await query('drop publication freshet');
    await query(
      'create publication freshet for table cities, codes, parts, users with (publish_via_partition_root = true)',
    );
    await world.fresh(api);
    const old = await warm(api, '/cities/2');
    await query('alter publication freshet drop table cities');
    await query(`update cities set name = 'unseen' where id = 2`);
    await query('alter publication freshet add table cities');
    await shows('/cities/2', 'unseen');
    expect((await api.get('/cities/2', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
  });

  test('a publication made anew, with a change in between, is got over with a new slot', async () => {
    const old = await warm(api, '/cities/4');
    await query('drop publication freshet');
    await query(`update cities set name = 'in between' where id = 4`);
    await query(
      'create publication freshet for table cities, codes, parts, users with (publish_via_partition_root = true)',
    );
    await shows('/cities/4', 'in between');
    await world.fresh(api);
    expect((await api.get('/cities/4', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
    await warm(api, '/cities/4');
    await query(`update cities set name = 'behind it' where id = 4`);
    await shows('/cities/4', 'behind it');
  });

  test('another worker takes over', async () => {
    await worker.kill();
    worker = await world.worker();
    await world.fresh(api);
    await warm(api, '/cities/3');
    await query(`update cities set name = 'taken over' where id = 3`);
    await shows('/cities/3', 'taken over');
  });

  describe('in a database that nobody prepared', () => {
    let database: TestDatabase;
    let env: Record<string, string>;
    beforeAll(async () => {
      database = await createDatabase(server.url);
      await database.query(SCHEMA);
      env = { DATABASE_URL: database.url };
    });
    afterAll(() => database?.drop());

    test('doctor prints the SQL, and init runs it', async () => {
      const before = await diagnose(env);
      expect({ code: before.code, lacks: whatIn(before.lacks) }).toEqual({
        code: 3,
        lacks: [
          'the schema freshet',
          'the marker table freshet.alive',
          'the table freshet.dead_letter',
          'the trigger function freshet.bump_version()',
          'the publication freshet',
          'the replication slot freshet_wal',
        ],
      });
      expect(await runInit(env, { apply: true })).toMatchObject({ code: 0 });
      expect(await diagnose(env)).toMatchObject({ code: 0, lacks: [] });
    });

    test('a slot that cannot be read past a publication made anew is found out, and made anew', async () => {
      await runInit(env, { apply: true });
      await database.query('drop publication freshet');
      await database.query(`update cities set name = name where id = 1`);
      await runInit(env, { apply: true });
      await database.query('drop publication freshet');
      await database.query(`update cities set name = name where id = 1`);
      await database.query(
        'create publication freshet for table cities, codes, parts, users with (publish_via_partition_root = true)',
      );
      expect(whatIn((await diagnose(env)).lacks)).toEqual(
        major < SKIPS_MISSING_PUBLICATIONS
          ? [
              'the replication slot freshet_wal cannot be read any further: publication "freshet" does not exist',
            ]
          : [],
      );
      expect(await runInit(env, { apply: true })).toMatchObject({ code: 0 });
      expect(await diagnose(env)).toMatchObject({ code: 0, lacks: [] });
    });
  });
});
