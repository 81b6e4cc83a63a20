import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { type FreshetConfig, table } from '../../shared/resources/define.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { diagnose, runInit, whatIn } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { warm } from '../support/gap.ts';
import { runCli } from '../support/run-cli.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;

const CONFIG: FreshetConfig = {
  resources: {
    cities: table('cities', { warmUp: { top: 0 } }),
    people: table('people', {
      columns: ['id', 'name'],
      readOnly: ['id'],
      write: 'cache-aside',
      warmUp: { top: 0 },
    }),
    bills: table('office.bills', { warmUp: { top: 0 } }),
  },
};

const SCHEMA = `
  create table cities (id int primary key, name text);
  insert into cities values (1, 'Paris'), (2, 'Lyon');
  create table people (id serial primary key, name text, secret text);
  insert into people (name, secret) values ('Ada', 'hers');
  create schema office;
  create table office.bills (id uuid primary key, sum numeric) partition by hash (id);
  create table office.bills_1 partition of office.bills for values with (modulus 1, remainder 0);
  insert into office.bills values ('550e8400-e29b-41d4-a716-446655440000', 1.5);
  create table salaries (id int primary key, amount int);
  revoke all on schema public from public`;

/** Roles belong to the whole server: it is our own. */
let server: TestServer;
let database: TestDatabase;
let folder: string;
let env: Record<string, string>;

const asRole = (role: string): string => {
  const url = new URL(database.url);
  url.username = role;
  return url.href;
};

beforeAll(async () => {
  server = await startPostgres();
  database = await createDatabase(server.url);
  await database.query(SCHEMA);
  folder = mkdtempSync(join(tmpdir(), 'freshet-roles-'));
  const configFile = join(folder, 'config.mjs');
  writeFileSync(configFile, `export default ${JSON.stringify(CONFIG)};`);
  env = { DATABASE_URL: database.url, FRESHET_CONFIG: configFile };
  expect(await runInit(env, { apply: true, roles: true })).toMatchObject({ code: 0 });
}, 60_000);
afterAll(async () => {
  await database?.drop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const parts = ['api', 'worker', 'connect'] as const;

test.each(parts)('the role of the part %s lacks nothing, and is no superuser', async part => {
  const found = await diagnose({ ...env, DATABASE_URL: asRole(`freshet_${part}`) }, { as: part });
  expect({ code: found.code, lacks: whatIn(found.lacks), notes: whatIn(found.notes) }).toEqual({
    code: 0,
    lacks: [],
    notes: [
      'REDIS_URL is not set: a local one is started',
      'QUEUE_REDIS_URL is not set: a local one is started',
    ],
  });
});

test('the file by itself makes what init makes, and may be run again', async () => {
  const other = await createDatabase(server.url);
  try {
    const file = readFileSync(new URL('../../connectors/roles.sql', import.meta.url), 'utf8');
    for (const _run of ['first', 'second']) await other.query(file);
    const { groups } = await diagnose({ DATABASE_URL: other.url });
    expect(groups.find(({ name }) => name === 'Schema freshet')!.findings).toMatchObject([{ level: 'good' }]);
  } finally {
    await other.drop();
  }
});

describe('API and worker, each under its own role', () => {
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeAll(async () => {
    world = await openWorld({ databaseUrl: database.url, schema: 'select', config: CONFIG });
    worker = await world.worker({ DATABASE_URL: asRole('freshet_worker') });
    api = await world.api({ DATABASE_URL: asRole('freshet_api') });
    await world.fresh(api);
  }, 60_000);
  afterAll(() => world?.close());

  const shows = (path: string, part: string): Promise<unknown> =>
    eventually(
      `${path} shows ${part}`,
      () => api.get(path),
      answer => answer.body.includes(part),
      BOUND_MS,
    );

  test('show an edit made past the API, of an ordinary and of a partitioned table', async () => {
    await warm(api, '/cities/1');
    await world.database.query(`update cities set name = 'Lutetia' where id = 1`);
    await shows('/cities/1', 'Lutetia');
    const bill = '/bills/550e8400-e29b-41d4-a716-446655440000';
    await warm(api, bill);
    await world.database.query('update office.bills set sum = 2.5');
    await shows(bill, '2.5');
  });

  test('write what is declared writable, and show nothing else of the row', async () => {
    expect((await api.get('/people/1')).body).toBe('{"id":1,"name":"Ada"}');
    const created = await api.send('POST', '/people', { name: 'Grace' });
    expect(created.status).toBe(201);
    const path = created.headers.location!;
    const { headers } = await api.get(path);
    const changed = await api.send('PATCH', path, { name: 'Hopper' }, { 'If-Match': headers.etag! });
    expect(changed.status).toBe(200);
    await shows(path, 'Hopper');
    expect((await api.send('DELETE', path)).status).toBe(204);
    expect((await api.get(path)).status).toBe(404);
  });

  test('nobody of them is a superuser', async () => {
    const { rows } = await world.database.query(
      `select distinct a.usename, r.rolsuper from pg_stat_activity a join pg_roles r on r.rolname = a.usename
       where a.application_name like 'freshet %' order by 1`,
    );
    expect(rows).toEqual([
      { usename: 'freshet_api', rolsuper: false },
      { usename: 'freshet_worker', rolsuper: false },
    ]);
  });

  test('go on after a crash of the database: the worker puts the marker back', async () => {
    const old = await warm(api, '/cities/2');
    await server.kill();
    await server.restart();
    await world.database.query(`update cities set name = 'Lugdunum' where id = 2`);
    await world.fresh(api);
    await shows('/cities/2', 'Lugdunum');
    expect((await api.get('/cities/2', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
  }, 60_000);

  test('whoever is waited for is named', async () => {
    const writer = await world.database.connect();
    await writer.query('begin; select pg_current_xact_id()');
    const { pid } = (await writer.query('select pg_backend_pid() as pid')).rows[0] as { pid: number };
    try {
      await worker.kill();
      await eventually(
        'the slot is dropped',
        () =>
          world.database.query('select pg_drop_replication_slot($1)', [world.slot]).then(
            () => true,
            error => String(error),
          ),
        seen => seen === true || String(seen).includes('does not exist'),
      );
      worker = await world.worker({ DATABASE_URL: asRole('freshet_worker') });
      await eventually(
        'the worker says for whom it waits',
        async () => (await world.store.processes()).find(({ role }) => role === 'worker')?.waitingFor,
        waitingFor =>
          Array.isArray(waitingFor) && waitingFor.some(one => (one as { pid: number }).pid === pid),
      );
    } finally {
      await writer.end();
    }
    await world.fresh(api);
  }, 60_000);

  interface Trouble {
    readonly taken: string;
    readonly given: string;
    readonly says: string;
  }

  const workerTroubles: readonly Trouble[] = [
    {
      taken: 'alter role freshet_worker noreplication',
      given: 'alter role freshet_worker replication',
      says: 'permission denied to start WAL sender',
    },
    {
      taken: 'revoke select on freshet.alive from freshet_worker',
      given: 'grant select on freshet.alive to freshet_worker',
      says: 'permission denied for table alive',
    },
    {
      taken: 'revoke usage on schema freshet from freshet_worker',
      given: 'grant usage on schema freshet to freshet_worker',
      says: 'permission denied for schema freshet',
    },
  ];

  test.each(workerTroubles)(
    'a worker from whom this is taken says so: $taken',
    async ({ taken, given, says }) => {
      await world.database.query(taken);
      await world.database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'freshet_worker'`,
      );
      try {
        await eventually(
          'its trouble in the status',
          async () => (await world.store.processes()).find(({ role }) => role === 'worker')?.trouble,
          trouble => String(trouble).includes(says),
          15_000,
        );
        expect((await api.get('/cities/1')).status).toBe(200);
      } finally {
        await world.database.query(given);
      }
      await world.fresh(api);
    },
    60_000,
  );

  test('an API from which a table was taken says which, in its log', async () => {
    await world.database.query('revoke select on cities from freshet_api');
    try {
      const { status, body } = await api.get('/cities/77');
      expect({ status, body }).toEqual({ status: 500, body: expect.not.stringContaining('freshet_api') });
      await eventually(
        'its log',
        () => api.log(),
        log => log.includes('permission denied for table cities') && log.includes('freshet doctor'),
      );
    } finally {
      await world.database.query('grant select on cities to freshet_api');
    }
  });
});

describe('what a role may not', () => {
  const refused: readonly (readonly [role: string, statement: string])[] = [
    ['freshet_api', 'select secret from people'],
    ['freshet_api', 'select * from salaries'],
    ['freshet_api', 'update cities set name = name'],
    ['freshet_api', `update people set secret = ''`],
    ['freshet_api', 'select * from freshet.dead_letter'],
    ['freshet_api', `select pg_create_logical_replication_slot('mine', 'pgoutput')`],
    ['freshet_worker', 'update people set name = name'],
    ['freshet_worker', 'select secret from people'],
    ['freshet_worker', 'drop publication freshet'],
    ['freshet_worker', 'create table freshet.more (id int)'],
    ['freshet_connect', 'select * from public.cities'],
    ['freshet_connect', 'select * from freshet.alive'],
  ];

  test.each(refused)('%s: %s', async (role, statement) => {
    const client = new pg.Client({ connectionString: asRole(role) });
    await client.connect();
    try {
      await expect(client.query(statement)).rejects.toMatchObject({ code: '42501' });
    } finally {
      await client.end();
    }
  });
});

describe('one right less is named, with the statement that gives it back', () => {
  const rights: readonly (readonly [part: (typeof parts)[number], taken: string, right: string])[] = [
    ['api', 'revoke usage on schema freshet from', 'usage on schema freshet'],
    ['api', 'revoke select on freshet.alive from', 'select on freshet.alive'],
    ['api', 'revoke usage on schema office from', 'usage on schema office'],
    ['api', 'revoke select on office.bills from', 'select on office.bills'],
    ['api', 'revoke select (name) on people from', 'select (id, name, xmin) on public.people'],
    ['api', 'revoke select (xmin) on people from', 'select (id, name, xmin) on public.people'],
    ['api', 'revoke insert (name) on people from', 'insert (name) on public.people'],
    ['api', 'revoke update (name) on people from', 'update (name) on public.people'],
    ['api', 'revoke delete on people from', 'delete on public.people'],
    ['api', 'revoke usage on sequence people_id_seq from', 'usage on sequence public.people_id_seq'],
    ['worker', 'revoke usage on schema freshet from', 'usage on schema freshet'],
    ['worker', 'revoke select on freshet.alive from', 'select on freshet.alive'],
    ['worker', 'revoke insert on freshet.alive from', 'insert on freshet.alive'],
    ['worker', 'revoke insert on freshet.dead_letter from', 'insert on freshet.dead_letter'],
    ['worker', 'revoke usage on schema public from', 'usage on schema public'],
    ['worker', 'revoke select on cities from', 'select on public.cities'],
  ];

  test.each(rights)('%s: %s', async (part, taken, right) => {
    const role = `freshet_${part}`;
    await database.query(`${taken} ${role}`);
    const found = await diagnose({ ...env, DATABASE_URL: asRole(role) }, { as: part });
    expect({ code: found.code, lacks: whatIn(found.lacks) }).toEqual({
      code: 3,
      lacks: [`${role} has no ${right}`],
    });
    expect(found.lacks[0]!.sql).toEqual([`grant ${right} to ${role}`]);
    await database.query(found.lacks[0]!.sql[0]!);
    expect((await diagnose({ ...env, DATABASE_URL: asRole(role) }, { as: part })).code).toBe(0);
  });

  test.each(['worker', 'connect'] as const)('%s: REPLICATION', async part => {
    const role = `freshet_${part}`;
    await database.query(`alter role ${role} noreplication`);
    const found = await diagnose({ ...env, DATABASE_URL: asRole(role) }, { as: part });
    expect({ code: found.code, lacks: whatIn(found.lacks), sql: found.lacks[0]!.sql }).toEqual({
      code: 3,
      lacks: [`${role} has no REPLICATION`],
      sql: [`alter role ${role} replication`],
    });
    await database.query(found.lacks[0]!.sql[0]!);
  });

  test('worker: to name those it waits for, which is only noted', async () => {
    await database.query('revoke pg_read_all_stats from freshet_worker');
    const found = await diagnose({ ...env, DATABASE_URL: asRole('freshet_worker') }, { as: 'worker' });
    expect(found.code).toBe(0);
    expect(whatIn(found.notes)).toContain('freshet_worker is no member of pg_read_all_stats');
    await database.query('grant pg_read_all_stats to freshet_worker');
  });
});

describe('a role that may nothing', () => {
  const weak = (): Record<string, string> => ({ ...env, DATABASE_URL: asRole('app') });
  beforeAll(async () => {
    await database.query('create role app login');
  });
  afterAll(() => database.query('drop owned by app; drop role app'));

  test('is what `up` refuses, with every grant', async () => {
    const { code, text } = await runCli(['up'], { ...weak(), FRESHET_DATA_DIR: join(folder, 'data') });
    expect({ code, text }).toMatchObject({ code: 3 });
    for (const grant of ['grant usage on schema freshet to app;', 'alter role app replication;'])
      expect(text).toContain(grant);
  }, 60_000);

  test('cannot mend itself, and is told what was refused', async () => {
    const { code, text } = await runInit(weak(), { apply: true });
    expect(code).toBe(3);
    expect(text).toContain('REFUSED  grant usage on schema freshet to app\n         permission denied');
    expect(text).toContain('Still missing:\n- app has no usage on schema freshet');
  });

  test('is given what it lacks by somebody who may', async () => {
    expect(await runInit(weak(), { apply: true, 'admin-url': database.url })).toMatchObject({ code: 0 });
    expect(await diagnose(weak())).toMatchObject({ code: 0, lacks: [] });
  });
});
