import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { isNotProven, warm } from '../support/gap.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;

interface Alteration {
  readonly what: string;
  readonly table: string;
  readonly made: string;
  /** Path segment of the row, and what it is before and after; null: there is none. */
  readonly row: string;
  readonly before: string | null;
  readonly ddl: string;
  readonly after: string | null;
}

const PARTS = (name: string): string => `
  create table ${name} (id int primary key, n int) partition by range (id);
  create table ${name}_low partition of ${name} for values from (0) to (100);
  create table ${name}_high partition of ${name} for values from (100) to (200);
  insert into ${name} values (1, 1), (100, 2)`;

/** None of these sends a row event; only the digest of the definition tells of them. */
const ALTERATIONS: readonly Alteration[] = [
  {
    what: 'ALTER TYPE … USING, to another type',
    table: 'retyped',
    made: 'create table retyped (id int primary key, n int); insert into retyped values (1, 5)',
    row: '1',
    before: '{"id":1,"n":5}',
    ddl: `alter table retyped alter n type text using 'five'`,
    after: '{"id":1,"n":"five"}',
  },
  {
    what: 'ALTER TYPE … USING, to the same type',
    table: 'scaled',
    made: 'create table scaled (id int primary key, n int); insert into scaled values (1, 5)',
    row: '1',
    before: '{"id":1,"n":5}',
    ddl: 'alter table scaled alter n type int using n * 100',
    after: '{"id":1,"n":500}',
  },
  {
    what: 'ADD COLUMN … DEFAULT',
    table: 'widened',
    made: 'create table widened (id int primary key); insert into widened values (1)',
    row: '1',
    before: '{"id":1}',
    ddl: 'alter table widened add m int not null default 7',
    after: '{"id":1,"m":7}',
  },
  {
    what: 'DROP COLUMN',
    table: 'narrowed',
    made: 'create table narrowed (id int primary key, n int); insert into narrowed values (1, 5)',
    row: '1',
    before: '{"id":1,"n":5}',
    ddl: 'alter table narrowed drop n',
    after: '{"id":1}',
  },
  {
    what: 'RENAME COLUMN',
    table: 'renamed',
    made: 'create table renamed (id int primary key, n int); insert into renamed values (1, 5)',
    row: '1',
    before: '{"id":1,"n":5}',
    ddl: 'alter table renamed rename n to m',
    after: '{"id":1,"m":5}',
  },
  {
    what: 'RENAME VALUE of an enum',
    table: 'moods',
    made: `create type mood as enum ('ok', 'bad');
           create table moods (id int primary key, m mood); insert into moods values (1, 'ok')`,
    row: '1',
    before: '{"id":1,"m":"ok"}',
    ddl: `alter type mood rename value 'ok' to 'fine'`,
    after: '{"id":1,"m":"fine"}',
  },
  {
    what: 'DETACH PARTITION',
    table: 'detached',
    made: PARTS('detached'),
    row: '100',
    before: '{"id":100,"n":2}',
    ddl: 'alter table detached detach partition detached_high',
    after: null,
  },
  {
    what: 'ATTACH PARTITION',
    table: 'attached',
    made: `${PARTS('attached')};
           create table attached_more (id int primary key, n int); insert into attached_more values (200, 3)`,
    row: '200',
    before: null,
    ddl: 'alter table attached attach partition attached_more for values from (200) to (300)',
    after: '{"id":200,"n":3}',
  },
  {
    what: 'TRUNCATE of one leaf',
    table: 'emptied',
    made: PARTS('emptied'),
    row: '100',
    before: '{"id":100,"n":2}',
    ddl: 'truncate emptied_high',
    after: null,
  },
  {
    what: 'DROP, and another table under the same name',
    table: 'remade',
    made: 'create table remade (id int primary key, n int); insert into remade values (1, 5), (2, 6)',
    row: '2',
    before: '{"id":2,"n":6}',
    ddl: 'drop table remade; create table remade (id int primary key, n int); insert into remade values (1, 5)',
    after: null,
  },
  {
    what: 'a table put into the place of another',
    table: 'swapped',
    made: `create table swapped (id int primary key, n int); insert into swapped values (1, 5);
           create table swapped_next (id int primary key, n int); insert into swapped_next values (1, 6)`,
    row: '1',
    before: '{"id":1,"n":5}',
    ddl: 'alter table swapped rename to swapped_before; alter table swapped_next rename to swapped',
    after: '{"id":1,"n":6}',
  },
  {
    what: 'another primary key',
    table: 'rekeyed',
    made: `create table rekeyed (id int primary key, code int not null unique);
           insert into rekeyed values (1, 2), (2, 1)`,
    row: '1',
    before: '{"id":1,"code":2}',
    ddl: 'alter table rekeyed drop constraint rekeyed_pkey, add primary key (code)',
    after: '{"id":2,"code":1}',
  },
];

describe('a definition that changes under cached rows', () => {
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeAll(async () => {
    const made = [
      ...ALTERATIONS.map(alteration => alteration.made),
      `create table calm (id int primary key, n int); insert into calm select n, n from generate_series(1, 500) n`,
      `create table late (id int primary key); insert into late values (1)`,
      `create type tint as enum ('red'); create table tints (id int primary key, t tint); insert into tints values (1, 'red')`,
    ];
    const names = [...ALTERATIONS.map(alteration => alteration.table), 'calm', 'late', 'tints'];
    world = await openWorld({
      schema: made.join(';\n'),
      config: {
        resources: Object.fromEntries(
          names.map(name => [name, table(name, { warmUp: { top: 0 }, rewarm: 'never' })]),
        ),
      },
    });
    worker = await world.worker();
    api = await world.api();
  });
  beforeEach(() => world.fresh(api));
  afterAll(() => world?.close());

  const generation = async (name: string): Promise<string> =>
    (await world.store.control())!.tables.get(name)!.generation;

  test.each(ALTERATIONS)(
    '$what is shown within the bound',
    async ({ table: name, row, before, ddl, after }) => {
      const path = `/${name}/${row}`;
      const old = await eventually(
        `${path} is cached`,
        () => api.get(path),
        answer => answer.headers['cache-status']!.startsWith('freshet; hit'),
      );
      expect([old.status, old.status === 200 ? old.body : null]).toEqual([
        before === null ? 404 : 200,
        before,
      ]);

      await world.database.query(`begin; ${ddl}; commit`);
      await eventually(
        `${path} is right`,
        () => api.get(path),
        answer => (after === null ? answer.status === 404 : answer.status === 200 && answer.body === after),
        BOUND_MS,
      );
      const conditional = await api.get(path, { 'If-None-Match': old.headers.etag ?? '"none"' });
      expect(conditional.status).toBe(after === null ? 404 : 200);
      const again = await eventually(
        `${path} is cached again`,
        () => api.get(path),
        answer => answer.headers['cache-status']!.startsWith('freshet; hit'),
      );
      expect(again.status === 200 ? again.body : null).toBe(after);
    },
  );

  test('a publication of all tables that was made anew, with a change in between', async () => {
    const old = await warm(api, '/calm/3');
    await world.database.query(
      `begin; drop publication freshet; update calm set n = -3 where id = 3;
       create publication freshet for all tables with (publish_via_partition_root = true); commit`,
    );
    await eventually(
      'right',
      () => api.get('/calm/3'),
      answer => answer.body === '{"id":3,"n":-3}',
      BOUND_MS,
    );
    expect((await api.get('/calm/3', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
  });

  test('VACUUM, ANALYZE and freezing leave it as it is, rows stay cached', async () => {
    const { headers } = await warm(api, '/calm/1');
    const before = await generation('calm');
    const client = await world.database.connect();
    for (const statement of [
      'update calm set n = n where id > 400',
      'delete from calm where id > 450',
      'vacuum calm',
      'analyze calm',
      'vacuum (freeze, analyze) calm',
      'vacuum (freeze) pg_catalog.pg_class',
      'vacuum (freeze, analyze) pg_catalog.pg_attribute',
      'reindex table calm',
    ]) {
      await client.query(statement);
      // Shown only after a round that looked at the definitions behind that statement.
      await client.query('update calm set n = n + 1 where id = 2');
      const { rows } = await client.query('select n from calm where id = 2');
      const right = JSON.stringify({ id: 2, n: (rows[0] as { n: number }).n });
      await eventually(
        statement,
        () => warm(api, '/calm/2'),
        answer => answer.body === right,
      );
      if (statement !== 'reindex table calm')
        expect([statement, await generation('calm')]).toEqual([statement, before]);
    }
    const again = await api.get('/calm/1', { 'If-None-Match': headers.etag! });
    expect(again.status).toBe(304);
  });

  test('is known to an API that had not read the table before', async () => {
    const other = await world.api();
    const before = await generation('late');
    await world.database.query('alter table late add m int default 7');
    await eventually(
      'raised',
      () => generation('late'),
      seen => seen !== before,
    );
    await eventually(
      'late',
      () => other.get('/late/1'),
      answer => answer.body === '{"id":1,"m":7}',
      BOUND_MS,
    );
    await other.stop();
  });

  test('is asked for with every guarded read, while nobody follows the log', async () => {
    await warm(api, '/tints/1');
    worker.signal('SIGSTOP');
    try {
      await isNotProven(api);
      const guarded = await api.get('/tints/1');
      expect(guarded.headers['cache-status']).toBe('freshet; hit; detail=GUARDED');
      // The row is not written, its xmin stays: only the digest tells.
      await world.database.query(`alter type tint rename value 'red' to 'crimson'`);
      await eventually(
        'right as soon as the proof of that entry has run out',
        () => api.get('/tints/1'),
        answer => answer.body === '{"id":1,"t":"crimson"}',
        BOUND_MS,
      );
    } finally {
      worker.signal('SIGCONT');
    }
  });
});
