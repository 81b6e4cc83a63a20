import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { FreshetError } from '../../shared/errors.ts';
import { defineConfig, type TableOptions, table } from '../../shared/resources/define.ts';
import type { Query } from '../../shared/resources/introspect.ts';
import { loadCatalog } from '../../shared/resources/load-catalog.ts';
import type { Catalog } from '../../shared/resources/resource.ts';
import { BUMP_VERSION_SQL } from '../../shared/resources/version-trigger.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let client: pg.Client;
const query: Query = (sql, params) => client.query(sql, params);

beforeAll(async () => {
  database = await createDatabase();
  client = await database.connect();
});

afterAll(() => database.drop());

beforeEach(async () => {
  await client.query(`
    drop schema if exists public, billing, freshet cascade; create schema public; create schema freshet;
    drop publication if exists freshet;
    create publication freshet for all tables with (publish_via_partition_root = true)`);
});

const load = (declared: string, options: TableOptions = {}): Promise<Catalog> =>
  loadCatalog(query, defineConfig({ resources: { things: table(declared, options) } }));

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error('expected the resources to be refused'),
    error => error,
  );
  if (error instanceof FreshetError && error.code === 'bad-resources') return error.message;
  throw error;
}

/** The second line of each problem. */
const mendsIn = (message: string): string[] => message.split('\n').filter(line => line.startsWith('      '));

describe('a table is served', () => {
  test.each([
    ['with a composite key of text and date', 'create table things (a text, d date, primary key (a, d))'],
    [
      'with a key of a domain',
      "create domain code as varchar(3) check (value ~ '^[A-Z]+$'); create table things (id code primary key)",
    ],
    [
      'with a key of an enum',
      "create type mood as enum ('sad', 'ok'); create table things (id mood primary key)",
    ],
    [
      'that is partitioned twice',
      `create table things (id int, d date, primary key (id, d)) partition by range (d);
      create table things_2026 partition of things for values from ('2026-01-01') to ('2027-01-01') partition by list (id);
      create table things_2026_1 partition of things_2026 for values in (1)`,
    ],
    [
      'with replica identity full',
      'create table things (id int primary key); alter table things replica identity full',
    ],
    [
      'whose replica identity index is the primary key',
      'create table things (id int primary key); alter table things replica identity using index things_pkey',
    ],
    [
      'that inherits',
      'create table parent (id int); create table things (primary key (id)) inherits (parent)',
    ],
    [
      'that is published by name',
      'create table things (id int primary key); drop publication freshet; create publication freshet for table things',
    ],
    [
      'that is published with its schema',
      'create table things (id int primary key); drop publication freshet; create publication freshet for tables in schema public',
    ],
    [
      'with a policy that does not concern this role',
      'create table things (id int primary key); alter table things enable row level security',
    ],
  ])('%s', async (_, setup) => {
    await client.query(setup);
    const catalog = await load('things');
    expect([...catalog.tables.keys()]).toEqual(['things']);
  });

  test('of another schema, under its qualified name', async () => {
    await client.query('create schema billing; create table billing.invoices (id uuid primary key)');
    const catalog = await load('billing.invoices');
    expect(catalog.of('billing.invoices').map(({ name }) => name)).toEqual(['things']);
  });

  test('without being declared, if nothing is', async () => {
    await client.query(`
      create table users (id int primary key); create table events (at timestamptz);
      create unlogged table sessions (id int primary key); create view report as select 1 as id;
      create table parts (id int primary key) partition by list (id); create table parts_1 partition of parts for values in (1);
      create table """quoted""" (id int primary key)`);
    const catalog = await loadCatalog(query, null);
    expect([...catalog.resources.keys()]).toEqual(['parts', 'users']);
    expect(catalog.notes.map(note => note.split('\n')[0])).toEqual([
      expect.stringContaining('because it is a path segment'),
      expect.stringContaining('found "quoted", of which Debezium loses the changes'),
      'not served: events (table events): expected a primary key, found none',
      'not served: sessions (table sessions): expected a permanent table, found public.sessions, which is unlogged: its changes are not in the write-ahead log',
    ]);
  });
});

interface Case {
  readonly title: string;
  readonly setup: string;
  readonly says: string;
  /** What the line with the remedy begins with; run as SQL where it is SQL. */
  readonly mend: string;
  readonly options?: TableOptions;
}

describe('a table is refused, and what the message says to run mends it', () => {
  const cases: Case[] = [
    {
      title: 'unlogged',
      setup: 'create unlogged table things (id int primary key)',
      says: 'expected a permanent table, found public.things, which is unlogged',
      mend: 'alter table public.things set logged;',
    },
    {
      title: 'with a plain inheritance child',
      setup: 'create table things (id int primary key); create table "Child" () inherits (things)',
      says: 'expected a table that no other inherits from, found public."Child"',
      mend: 'alter table public."Child" no inherit public.things;',
    },
    {
      title: 'with replica identity nothing',
      setup: 'create table things (id int primary key); alter table things replica identity nothing',
      says: 'replica identity nothing: deletes name no row',
      mend: 'alter table public.things replica identity default;',
    },
    {
      title: 'with another replica identity index',
      setup:
        'create table things (id int primary key, code text not null unique); alter table things replica identity using index things_code_key',
      says: 'the index things_code_key: deletes name the row by that instead',
      mend: 'alter table public.things replica identity default;',
    },
    {
      title: 'with a deferrable key',
      setup: 'create table things (id int primary key deferrable)',
      says: 'a deferrable one, with which updates and deletes of a published table are refused',
      mend: 'alter table public.things replica identity full;',
    },
    {
      title: 'without any publication',
      setup: 'create table things (id int primary key); drop publication freshet',
      says: 'expected the table in the publication freshet, found it is not',
      mend: 'create publication freshet for table public.things with (publish_via_partition_root = true);',
    },
    {
      title: 'not in the publication',
      setup:
        'create table things (id int primary key); create table other (id int primary key); drop publication freshet; create publication freshet for table other',
      says: 'expected the table in the publication freshet, found it is not',
      mend: 'alter publication freshet add table public.things;',
    },
    {
      title: 'published without deletes and truncates',
      setup:
        "create table things (id int primary key); alter publication freshet set (publish = 'insert, update')",
      says: 'expected all operations in the publication freshet, found no delete, truncate',
      mend: "alter publication freshet set (publish = 'insert, update, delete, truncate');",
    },
    {
      title: 'published with a row filter and a column list',
      setup:
        'create table things (id int primary key, n int); drop publication freshet; create publication freshet for table things (id) where (id > 0)',
      says: 'expected all rows and columns in the publication freshet, found a row filter and a column list',
      mend: 'alter publication freshet drop table public.things; alter publication freshet add table public.things;',
    },
    {
      title: 'partitioned, published by partition',
      setup:
        'create table things (id int primary key) partition by list (id); alter publication freshet set (publish_via_partition_root = false)',
      says: 'expected changes of partitions under the name of the table',
      mend: 'alter publication freshet set (publish_via_partition_root = true);',
    },
    {
      title: 'partitioned, with an unlogged partition',
      setup:
        'create table things (id int primary key) partition by list (id); create unlogged table p1 partition of things for values in (1)',
      says: 'found public.p1, which is unlogged',
      mend: 'alter table public.p1 set logged;',
    },
    {
      title: 'partitioned, with another replica identity in a deep partition',
      setup: `create table things (id int, n int, primary key (id, n)) partition by list (id); create table p1 partition of things for values in (1) partition by list (n);
        create table p11 partition of p1 for values in (1); alter table p11 replica identity nothing`,
      says: 'expected replica identity default in every partition, found public.p11 with nothing',
      mend: 'alter table public.p11 replica identity default;',
    },
    {
      title: 'partitioned with full identity, whose partition logs keys only',
      setup: `create table things (id int primary key) partition by list (id); create table p1 partition of things for values in (1);
        alter table things replica identity full`,
      says: 'expected replica identity full in every partition, found public.p1 with default',
      mend: 'alter table public.p1 replica identity full;',
    },
    {
      title: 'with a version that no trigger moves',
      setup: `${BUMP_VERSION_SQL}; create table things (id int primary key, v bigint not null default 0)`,
      says: 'expected v to move with every write, also one from psql',
      mend: 'create trigger "freshet_bump_v" before insert or update on "public"."things"',
      options: { etag: 'version', versionColumn: 'v' },
    },
    {
      title: 'with a trigger that is not enabled always',
      setup: `${BUMP_VERSION_SQL}; create table things (id int primary key, v bigint not null default 0);
        create trigger bump before insert or update on things for each row execute function freshet.bump_version('v')`,
      says: 'expected v to move with every write',
      mend: 'create trigger "freshet_bump_v"',
      options: { etag: 'version', versionColumn: 'v' },
    },
  ];

  test.each(cases)('$title', async ({ setup, says, mend, options }) => {
    await client.query(setup);
    const message = await refusal(load('things', options));
    expect(message).toContain(says);
    const line = mendsIn(message).find(line => line.trimStart().startsWith(mend));
    expect([mendsIn(message), line?.trimStart().slice(0, mend.length)]).toEqual([mendsIn(message), mend]);
    await client.query(line!);
    expect((await load('things', options)).resources.has('things')).toBe(true);
  });
});

describe('a table is refused', () => {
  const loose = "create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);";

  test.each([
    [
      'that does not exist',
      'create table thingies (id int primary key)',
      'expected an existing table, found none of that name\n      did you mean thingies?',
    ],
    [
      'that is in another schema',
      'create schema billing; create table billing.things (id int primary key)',
      'expected an existing table',
    ],
    [
      'without a key',
      'create table things (id int)',
      'expected a primary key, found none\n      alter table public.things add primary key',
    ],
    [
      'that is a view',
      'create view things as select 1 as id',
      'expected an ordinary or partitioned table, found a view, whose rows come from other tables',
    ],
    [
      'that is a materialized view',
      'create materialized view things as select 1 as id',
      'found a materialized view',
    ],
    [
      'that is a partition',
      'create table whole (id int primary key) partition by list (id); create table things partition of whole for values in (1)',
      'a partition of public.whole, under whose name its changes are announced\n      declare public.whole instead',
    ],
    [
      'with a generated key',
      'create table things (n int, id int generated always as (n + 1) stored primary key)',
      'generated id, which the replication stream leaves out',
    ],
    ['with a key of numeric', 'create table things (id numeric primary key)', 'found id numeric'],
    ['with a key of float', 'create table things (id float8 primary key)', 'found id double precision'],
    ['with a key of char(n)', 'create table things (id char(3) primary key)', 'found id character(3)'],
    [
      'with a key of timestamptz',
      'create table things (id timestamptz primary key)',
      'found id timestamp with time zone',
    ],
    ['with a key of bool', 'create table things (id bool primary key)', 'found id boolean'],
    [
      'with a key of a range, without overlaps',
      'create extension if not exists btree_gist schema public; create table things (id int, during daterange, primary key (id, during without overlaps))',
      'found during daterange',
    ],
    ['with a key of an array', 'create table things (id int[] primary key)', 'found id integer[]'],
    [
      'with a key of text under a nondeterministic collation',
      `${loose} create table things (id text collate loose primary key)`,
      'found id text under a nondeterministic collation',
    ],
    [
      'with a key of a domain over such text',
      `${loose} create domain word as text collate loose; create table things (a int, id word, primary key (a, id))`,
      'found id word under a nondeterministic collation',
    ],
  ])('%s', async (_, setup, says) => {
    await client.query(setup);
    expect(await refusal(load('things'))).toContain(says);
  });

  test('with a key of citext', async () => {
    await client.query('create extension citext schema public; create table things (id citext primary key)');
    expect(await refusal(load('things'))).toContain('found id citext');
  });

  test('of which row-level security shows this role only a part', async () => {
    const role = `${database.name}_reader`;
    await client.query(`
      create role ${role}; create table things (id int primary key); alter table things enable row level security;
      grant usage on schema public to ${role}; grant select on things to ${role}`);
    try {
      await client.query(`set role ${role}`);
      expect(await refusal(load('things'))).toContain(
        'row-level security: what this role may see would be kept and shown to others',
      );
    } finally {
      await client.query(`reset role; drop owned by ${role}; drop role ${role}`);
    }
  });

  test('with all that is wrong with it at once', async () => {
    await client.query(`
      create unlogged table things (id numeric primary key, v int); create table child () inherits (things);
      alter table things replica identity nothing`);
    const message = await refusal(
      load('things', { columns: ['v'], etag: 'version', versionColumn: 'v', ttl: 'soon' as '1s' }),
    );
    expect(message).toMatch(/^5 problems with the resources:/);
    for (const part of [
      'found "soon"',
      'unlogged',
      'public.child',
      'found id numeric',
      'replica identity nothing',
    ]) {
      expect(message).toContain(part);
    }
  });
});

describe('the version trigger', () => {
  test('moves the version with every write, never to a value that was there before', async () => {
    await client.query(
      `${BUMP_VERSION_SQL}; create table things (id int primary key, v bigint not null default 0, d numeric, t timestamptz default now())`,
    );
    const options = { etag: 'version', versionColumn: 'v' } as const;
    for (const mend of mendsIn(await refusal(load('things', options)))) await client.query(mend);
    expect((await load('things', options)).resources.get('things')).toMatchObject({
      etag: 'version',
      versionColumn: 'v',
    });

    const versionAfter = async (sql: string): Promise<number> => {
      await client.query(sql);
      return Number((await client.query('select v from things')).rows[0].v);
    };
    const versions = [
      await versionAfter('insert into things (id, v, d) values (1, 5000, 1.50)'),
      await versionAfter('update things set v = 5000'),
      await versionAfter('update things set d = d'),
      await versionAfter('delete from things; insert into things (id) values (1)'),
      await versionAfter(
        'set session_replication_role = replica; update things set d = 2.50; reset session_replication_role',
      ),
    ];
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    expect(new Set(versions).size).toBe(versions.length);
    expect((await client.query('select d::text from things')).rows).toEqual([{ d: '2.50' }]);
  });

  test('runs for a role that may write the table and nothing else', async () => {
    const role = `${database.name}_writer`;
    await client.query(`
      ${BUMP_VERSION_SQL}; create table things (id int primary key, v bigint not null default 0);
      create trigger bump before insert or update on things for each row execute function freshet.bump_version('v');
      create role ${role}; grant usage on schema public to ${role}; grant insert, select on things to ${role}`);
    try {
      await client.query(`set role ${role}; insert into things values (1)`);
      expect(Number((await client.query('select v from things')).rows[0].v)).toBeGreaterThan(0);
    } finally {
      await client.query(`reset role; drop owned by ${role}; drop role ${role}`);
    }
  });
});
