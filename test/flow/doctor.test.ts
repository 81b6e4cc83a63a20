import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { diagnose, runInit, statementsOf, whatIn } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { holdTransaction } from '../support/held-transaction.ts';
import { runCli, startCli } from '../support/run-cli.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';

/** Roles and settings belong to the whole server: it is our own. */
let server: TestServer;
let database: TestDatabase;
let env: Record<string, string>;
/** The same with one resource: what is in its way is missing, not only noted. */
let declared: Record<string, string>;
let folder: string;
let configFile: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-doctor-'));
  configFile = join(folder, 'config.mjs');
  writeFileSync(
    configFile,
    `export default { resources: { cities: { kind: 'table', table: 'cities', options: {} } } };`,
  );
  server = await startPostgres();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

const SCHEMA = `create table cities (id int primary key, name text);
  create table towns (id int primary key);
  insert into cities values (1, 'Paris');
  create table logs (line text)`;

beforeEach(async () => {
  database = await createDatabase(server.url);
  await database.query(SCHEMA);
  // A slot of its own for each database.
  env = { DATABASE_URL: database.url, FRESHET_NAMESPACE: database.name };
  declared = { ...env, FRESHET_CONFIG: configFile };
});
afterEach(() => database.drop());

const adopt = async (): Promise<void> => {
  const { code, text } = await runInit(env, { apply: true });
  expect({ code, text }).toEqual({ code: 0, text: expect.stringMatching(/Nothing is missing\.\n$/) });
};

describe('a database that nobody prepared', () => {
  test('lacks everything, is told so with the SQL, and nothing of it is changed', async () => {
    const { code, text } = await runCli(['doctor'], env);
    expect(code).toBe(3);
    for (const part of [
      'MISSING  the schema freshet',
      'MISSING  the marker table freshet.alive',
      'MISSING  the table freshet.dead_letter',
      'MISSING  the trigger function freshet.bump_version()',
      'create publication freshet for table public.cities, public.towns with (publish_via_partition_root = true);',
      `select pg_create_logical_replication_slot('freshet_wal_${database.name}', 'pgoutput');`,
      '6 things are missing. `freshet init` prints the SQL as one script',
    ]) {
      expect(text).toContain(part);
    }
    const { rows } = await database.query(
      `select (select count(*) from pg_namespace where nspname = 'freshet') + (select count(*) from pg_publication) as made`,
    );
    expect(Number(rows[0].made)).toBe(0);
  });

  test('lacks nothing once the script that init prints was run', async () => {
    const { code, text } = await runCli(['init'], env);
    expect(code).toBe(0);
    for (const statement of statementsOf(text)) await database.query(statement);
    expect(await diagnose(env)).toMatchObject({ code: 0, lacks: [] });
    expect((await runCli(['init'], env)).text).toContain('-- Nothing is missing.');
  });

  test('is mended by init --apply, and a second time there is nothing to do', async () => {
    await adopt();
    expect(await diagnose(env)).toMatchObject({ code: 0, lacks: [] });
    expect(await runInit(env, { apply: true })).toEqual({ code: 0, text: 'Nothing is missing.\n' });
  });

  test('keeps taking updates of tables without a key: they are not published', async () => {
    await adopt();
    await database.query(`insert into logs values ('a'); update logs set line = 'b'`);
    const found = await diagnose(env);
    expect(whatIn(found.notes)).toContain('logs is not served: expected a primary key, found none');
  });

  test('is made fit by init --apply while somebody writes: it tells whom it waits for', async () => {
    const held = await holdTransaction(database.url);
    const init = startCli(['init', '--apply'], env);
    try {
      await eventually(
        'the one who writes is named',
        () => init.printed(),
        printed =>
          /waits for the transactions that are writing now:\n {2}process \d+ of Postgres/.test(printed),
      );
    } finally {
      await held.end();
    }
    expect(await init.ended).toMatchObject({ code: 0 });
  });
});

interface Case {
  readonly what: string;
  readonly broken: readonly string[];
  /** What doctor says is missing, and nothing else. */
  readonly says: readonly string[];
}

describe('a prepared database of which something was taken is told exactly that, and the SQL mends it', () => {
  const cases: readonly Case[] = [
    {
      what: 'the marker table',
      broken: ['drop table freshet.alive'],
      says: ['the marker table freshet.alive'],
    },
    {
      what: 'the marker table is a logged one',
      broken: ['alter table freshet.alive set logged'],
      says: ['the table freshet.alive as an unlogged one'],
    },
    {
      what: 'the table of dead letters is of an earlier version',
      broken: [
        'alter table freshet.dead_letter alter column place type pg_lsn using place::pg_lsn',
        'alter table freshet.dead_letter rename column place to lsn',
        `insert into freshet.dead_letter (feed, lsn, cause, raw) values ('wal', '1/2A', 'x', '')`,
      ],
      says: ['the column place of freshet.dead_letter'],
    },
    {
      what: 'the trigger function',
      broken: ['drop function freshet.bump_version()'],
      says: ['the trigger function freshet.bump_version()'],
    },
    { what: 'the publication', broken: ['drop publication freshet'], says: ['the publication freshet'] },
    {
      what: 'an operation of the publication',
      broken: [`alter publication freshet set (publish = 'insert, update')`],
      says: ['cities: expected all operations in the publication freshet, found no delete, truncate'],
    },
    {
      what: 'a table without a key is published',
      broken: ['alter publication freshet add table logs'],
      says: ['public.logs is published and has nothing that names its rows'],
    },
    {
      what: 'all tables are published, one of them without a key',
      broken: [
        'drop publication freshet',
        'create publication freshet for all tables with (publish_via_partition_root = true)',
      ],
      says: ['public.logs is published and has nothing that names its rows'],
    },
    {
      what: 'the replica identity',
      broken: ['alter table cities replica identity nothing'],
      says: [
        'public.cities is published and has nothing that names its rows',
        'cities: expected the primary key as replica identity, found replica identity nothing: deletes name no row',
      ],
    },
  ];

  test.each(cases)('$what', async ({ broken, says }) => {
    await adopt();
    for (const statement of broken) await database.query(statement);
    const found = await diagnose(declared);
    expect({ code: found.code, says: whatIn(found.lacks) }).toEqual({ code: 3, says });
    for (const statement of found.lacks.flatMap(({ sql }) => sql)) await database.query(statement);
    expect(await diagnose(declared)).toMatchObject({ code: 0, lacks: [] });
  });

  test('dead letters of an earlier version stay, under their place', async () => {
    await adopt();
    for (const statement of cases[2]!.broken) await database.query(statement);
    await adopt();
    expect((await database.query('select feed, place from freshet.dead_letter')).rows).toEqual([
      { feed: 'wal', place: '1/2A' },
    ]);
  });

  test('updates of a published table without a key are refused by Postgres until it is mended', async () => {
    await adopt();
    await database.query(`insert into logs values ('a'); alter publication freshet add table logs`);
    const update = (): Promise<unknown> => database.query(`update logs set line = 'b'`);
    await expect(update()).rejects.toThrow('does not have a replica identity');
    await adopt();
    await update();
  });
});

describe('the replication slot', () => {
  const slotName = (): string => `freshet_wal_${database.name}`;
  const dropSlot = (): Promise<unknown> =>
    database.query('select pg_drop_replication_slot($1)', [slotName()]);

  test('that is missing is made by the SQL', async () => {
    await adopt();
    await dropSlot();
    const { lacks } = await diagnose(env);
    expect(whatIn(lacks)).toEqual([`the replication slot ${slotName()}`]);
    for (const statement of lacks[0]!.sql) await database.query(statement);
    expect((await diagnose(env)).code).toBe(0);
  });

  test('of another database is refused, and another namespace is asked for', async () => {
    await adopt();
    const other = await createDatabase(server.url);
    try {
      const { lacks } = await diagnose({ ...env, DATABASE_URL: other.url });
      expect(whatIn(lacks)).toContain(
        `a slot of its own: ${slotName()} belongs to database ${database.name} (set FRESHET_NAMESPACE, which names the slot too)`,
      );
    } finally {
      await other.drop();
    }
  });

  test('that has fallen too far behind is told, and made anew by the SQL', async () => {
    const small = await startPostgres({
      settings: { max_slot_wal_keep_size: '16MB', min_wal_size: '32MB', max_wal_size: '32MB' },
    });
    const other = await createDatabase(small.url);
    try {
      const settings = { DATABASE_URL: other.url };
      await runInit(settings, { apply: true });
      for (let segment = 0; segment < 6; segment += 1) {
        await other.query("select pg_logical_emit_message(false, 'filler', repeat('x', 1000))");
        await other.query('select pg_switch_wal()');
      }
      await other.query('checkpoint');
      expect(whatIn((await diagnose(settings)).lacks)).toEqual([
        'the replication slot freshet_wal can give nothing any more (wal_removed)',
      ]);
      expect(await runInit(settings, { apply: true })).toMatchObject({ code: 0 });
    } finally {
      await other.drop();
      await small.stop();
    }
  }, 60_000);
});

describe('the server', () => {
  test('lacks its settings: each is named, and the SQL with a restart mends them', async () => {
    const poor = await startPostgres({
      settings: {
        wal_level: 'replica',
        max_slot_wal_keep_size: -1,
        max_replication_slots: 1,
        max_wal_senders: 1,
      },
    });
    try {
      const settings = { DATABASE_URL: poor.url };
      const found = await diagnose(settings);
      expect(whatIn(found.lacks).slice(0, 2)).toEqual([
        'wal_level is replica, logical is needed (takes a restart of Postgres)',
        'max_slot_wal_keep_size is unlimited',
      ]);
      expect(found.lacks.slice(0, 2).flatMap(({ sql }) => sql)).toEqual([
        `alter system set wal_level = 'logical'`,
        `alter system set max_slot_wal_keep_size = '10GB'`,
        'select pg_reload_conf()',
      ]);
      const { code, text } = await runInit(settings, { apply: true });
      expect({ code, text }).toEqual({
        code: 3,
        text: expect.stringContaining('Still missing:\n- wal_level is replica'),
      });
      // What was set on the command line is stronger than what `alter system` writes.
      expect(text).toContain(`ran      alter system set wal_level = 'logical'`);
    } finally {
      await poor.stop();
    }
  }, 60_000);

  test('has no slot and no walsender left', async () => {
    const poor = await startPostgres({ settings: { max_replication_slots: 0, max_wal_senders: 0 } });
    try {
      const { lacks } = await diagnose({ DATABASE_URL: poor.url });
      expect(lacks.slice(0, 2)).toMatchObject([
        {
          what: 'no replication slot is free: all 0 of max_replication_slots are taken',
          sql: ['alter system set max_replication_slots = 4'],
        },
        {
          what: 'no walsender is free: all 0 of max_wal_senders are taken',
          sql: ['alter system set max_wal_senders = 4'],
        },
      ]);
    } finally {
      await poor.stop();
    }
  }, 60_000);

  test('that is a standby is refused, and the rest is looked at all the same', async () => {
    const standby = await startPostgres();
    try {
      await standby.halt();
      writeFileSync(join(dirname(standby.logFile), 'data', 'standby.signal'), '');
      await standby.restart();
      const { code, lacks } = await diagnose({ DATABASE_URL: standby.url });
      expect({ code, what: lacks[0]!.what }).toEqual({
        code: 3,
        what: 'this server is a standby, the primary is needed',
      });
      expect(whatIn(lacks)).toContain('the schema freshet');
    } finally {
      await standby.stop();
    }
  }, 60_000);

  describe('whose synchronous standbys are', () => {
    const standbys = async (statement: string, value: string): Promise<void> => {
      await database.query(statement);
      await database.query('select pg_reload_conf()');
      await eventually(
        'the setting holds',
        async () =>
          (await database.query(`select current_setting('synchronous_standby_names') as now`)).rows[0].now,
        now => now === value,
      );
    };
    afterEach(() => standbys('alter system reset synchronous_standby_names', ''));

    test.each([
      ['*', true],
      ['FIRST 1 ("berlin", "Freshet WAL feed")', true],
      ['ANY 1 (berlin, oslo)', false],
    ])('%s', async (value, isRefused) => {
      await adopt();
      await standbys(`alter system set synchronous_standby_names = '${value}'`, value);
      const says = `synchronous_standby_names = '${value}' takes our walsender ("freshet wal feed") for a synchronous standby`;
      expect(whatIn((await diagnose(env)).lacks)).toEqual(isRefused ? [says] : []);
    });
  });
});

describe('the two Redis', () => {
  const cacheUrl = process.env.TEST_CACHE_REDIS_URL!;
  const queueUrl = process.env.TEST_QUEUE_REDIS_URL!;

  test('are good as the product starts them', async () => {
    await adopt();
    const found = await diagnose({ ...env, REDIS_URL: cacheUrl, QUEUE_REDIS_URL: queueUrl });
    expect({ code: found.code, lacks: found.lacks, notes: whatIn(found.notes) }).toEqual({
      code: 0,
      lacks: [],
      notes: [
        'logs is not served: expected a primary key, found none',
        'logs is not served: expected the table in the publication freshet, found it is not',
        'postgres is a superuser: it lacks no right',
      ],
    });
  });

  test('are refused in each other’s place', async () => {
    await adopt();
    const found = await diagnose({ ...env, REDIS_URL: queueUrl, QUEUE_REDIS_URL: cacheUrl });
    expect(found.code).toBe(3);
    expect(whatIn(found.lacks)).toEqual(['its maxmemory-policy is allkeys-lfu, noeviction is needed']);
    expect(whatIn(found.notes)).toEqual(
      expect.arrayContaining(['maxmemory is not limited', 'it keeps a journal (appendonly)']),
    );
  });

  test('must be two servers, whatever they are called', async () => {
    await adopt();
    const { lacks } = await diagnose({
      ...env,
      REDIS_URL: queueUrl,
      QUEUE_REDIS_URL: queueUrl.replace('127.0.0.1', '127.1'),
    });
    expect(whatIn(lacks)).toEqual(['it is the same server as that of REDIS_URL']);
  });

  test('must answer, and no password is printed', async () => {
    await adopt();
    const { port } = new URL(cacheUrl);
    const { code, text } = await runCli(['doctor'], {
      ...env,
      REDIS_URL: `redis://:wrong-secret@127.0.0.1:${port}`,
    });
    expect(code).toBe(3);
    expect(text).toContain('it does not answer: WRONGPASS');
    expect(text).not.toContain('wrong-secret');
  });
});

describe('what cannot be looked at', () => {
  test('no database is named and none runs', async () => {
    const { code, text } = await runCli(['doctor'], { FRESHET_DATA_DIR: join(tmpdir(), 'no-such-freshet') });
    expect({ code, text }).toEqual({
      code: 1,
      text: expect.stringMatching(/^DATABASE_URL is not set, and no local database runs\n/),
    });
  });

  test('the database does not answer: no password is printed', async () => {
    const { code, text } = await runCli(['doctor'], {
      DATABASE_URL: 'postgres://me:secret-word@127.0.0.1:1/x',
    });
    expect(code).toBe(1);
    expect(text).toContain('postgres://me:••••@127.0.0.1:1/x cannot be reached');
    expect(text).not.toContain('secret-word');
  });

  test('a part that does not exist is named', async () => {
    expect(await runCli(['doctor', '--as', 'nobody'], env)).toMatchObject({
      code: 1,
      text: expect.stringContaining('--as: expected one of all, api, worker, connect, got "nobody"'),
    });
  });

  test('init is led to another database', async () => {
    const other = await createDatabase(server.url);
    try {
      expect(await runCli(['init', '--apply', '--admin-url', other.url], env)).toMatchObject({
        code: 1,
        text: expect.stringContaining(`--admin-url leads to database ${other.name}`),
      });
    } finally {
      await other.drop();
    }
  });
});
