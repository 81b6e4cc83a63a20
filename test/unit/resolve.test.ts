import { describe, expect, test } from '@jest/globals';
import { FreshetError } from '../../shared/errors.ts';
import { defineConfig, type TableOptions, table } from '../../shared/resources/define.ts';
import { parseDuration } from '../../shared/resources/duration.ts';
import { resolveCatalog } from '../../shared/resources/resolve.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { TableFacts } from '../../shared/resources/table-facts.ts';
import { column, factsOf, shape } from '../support/shapes.ts';

const users = shape('users', [
  column('id', 'int4', { notNull: true, hasDefault: true }),
  column('name', 'text', { notNull: true }),
  column('email', 'text'),
  column('balance', 'numeric'),
  column('visits', 'int8[]'),
  column('version', 'int8', { notNull: true }),
  column('shout', 'text', { generated: true, hasDefault: true }),
]);
const bump = { function: 'freshet.bump_version', arguments: ['version'], onInsert: true, onUpdate: true };

const resolve = (options: TableOptions, facts: Partial<TableFacts> = {}): Resource =>
  resolveCatalog(
    defineConfig({ resources: { users: table('users', options) } }),
    [users],
    [factsOf(users, facts)],
  ).resources.get('users')!;

function refusal(work: () => unknown): FreshetError {
  try {
    work();
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'bad-resources') return error;
    throw error;
  }
  throw new Error('expected the resources to be refused');
}

describe('a resource without options', () => {
  const resource = resolve({});

  test('shows every column and takes no writes', () => {
    expect(resource.columns).toEqual(users.columns);
    expect(resource.write).toBe(false);
  });

  test('has the defaults of its documentation', () => {
    expect(resource).toMatchObject({
      etag: 'hash',
      versionColumn: null,
      rewarm: 'hot',
      warmUpTop: 1_000,
      ttlMs: 0,
      cacheControl: 'private, no-cache',
    });
  });

  test('takes no value for a column that Postgres computes', () => {
    expect([...resource.readOnly]).toEqual(['shout']);
  });
});

describe('options', () => {
  test('choose columns, their order and who may write them', () => {
    const resource = resolve({
      columns: ['name', 'id', 'email'],
      readOnly: ['email'],
      write: 'write-through',
    });
    expect(resource.columns.map(({ name }) => name)).toEqual(['name', 'id', 'email']);
    expect([...resource.readOnly]).toEqual(['email']);
    expect(resource.write).toBe('write-through');
  });

  test('turn exact strings into numbers, in arrays as well', () => {
    const { columns, table } = resolve({
      numbers: { balance: 'number', visits: 'number', version: 'string' },
    });
    const kinds = columns.map(({ name, kind, elementKind }) => [name, elementKind ?? kind]);
    expect(Object.fromEntries(kinds)).toMatchObject({
      balance: 'exact-number',
      visits: 'exact-number',
      version: 'string',
    });
    expect(table.columns.find(({ name }) => name === 'balance')!.kind).toBe('string');
  });

  test('a version column is never taken from a request', () => {
    const resource = resolve({ etag: 'version', versionColumn: 'version' }, { triggers: [bump] });
    expect(resource).toMatchObject({ etag: 'version', versionColumn: 'version' });
    expect(resource.readOnly.has('version')).toBe(true);
  });

  test.each([
    ['90s', 90_000],
    ['250ms', 250],
    ['10m', 600_000],
    ['1.5h', 5_400_000],
    ['1d', 86_400_000],
    ['0s', 0],
    [0, 0],
  ])('%p is %d ms', (duration, durationMs) => expect(parseDuration(duration)).toBe(durationMs));

  test.each(['', '90', 's', '-1s', '1 h', '1e3s', '1w', 60, null, '9'.repeat(30).concat('d')])(
    '%p is no duration',
    duration => expect(parseDuration(duration)).toBeNull(),
  );

  const badOptions: [options: object, ...said: string[]][] = [
    [{ ttl: '90' }, "expected ttl to be a duration like '90s', '10m', '1h', or 0 for none, found \"90\""],
    [{ tll: '90s' }, 'found tll', 'did you mean ttl?'],
    [{ toString: 1 }, 'found toString', 'remove toString'],
    [{ columns: [] }, 'columns to be a list of column names, not an empty one, found []'],
    [{ columns: 'id' }, 'columns to be a list'],
    [
      { columns: ['id', 'nmae'] },
      'each of columns to be a column of the table, found "nmae"',
      'did you mean name?',
    ],
    [{ columns: ['id', 'secret'] }, 'there are id, name, email'],
    [{ columns: ['id', 'name', 'id'] }, 'expected each column once, found id again'],
    [{ columns: ['name'] }, 'the primary key among the columns', "add 'id' to columns"],
    [{ columns: ['id'], readOnly: ['email'] }, 'each of readOnly to be an exposed column, found "email"'],
    [{ columns: ['id'], filters: ['name'] }, 'each of filters to be an exposed column'],
    [{ orders: ['Id'] }, 'each of orders', 'did you mean id?'],
    [
      { numbers: { name: 'number' } },
      'each of numbers to be an exposed int8 or numeric column, found "name"',
    ],
    [{ numbers: { balance: 'float' } }, "numbers to be an object of column: 'string' or 'number'"],
    [{ maxLimit: 0 }, 'maxLimit to be an integer from 1, found 0'],
    [{ etag: 'timestamp' }, 'etag to be "hash" or "version", found "timestamp"'],
    [{ etag: 'version' }, "versionColumn with etag: 'version'"],
    [{ versionColumn: 'version' }, "versionColumn only with etag: 'version', found etag: 'hash'"],
    [{ write: true }, 'write to be false or "cache-aside" or "write-through", found true'],
    [{ rewarm: 'always' }, 'rewarm to be "never" or "hot"'],
    [{ warmUp: { top: -1 } }, 'warmUp to be { top: an integer from 0 }'],
    [{ warmUp: null }, 'warmUp to be'],
    [{ cacheControl: 'no-cache\r\nSet-Cookie: a=b' }, 'cacheControl to be a Cache-Control value'],
    [{ cacheControl: '' }, 'cacheControl'],
  ];

  test.each(badOptions)('%j is refused', (options, ...said) => {
    const { message } = refusal(() => resolve(options as TableOptions));
    for (const part of said) expect(message).toContain(part);
    expect(message).toContain('one problem with the resources:\n  - users (table users): expected');
  });

  test('undefined is as good as absent', () => {
    // A spread of optional settings leaves such options behind.
    expect(resolve({ ttl: undefined } as object).ttlMs).toBe(0);
  });
});

describe('a version column', () => {
  const options = { etag: 'version', versionColumn: 'version' } as const;

  test.each([
    ['no trigger', []],
    ['another function', [{ ...bump, function: 'public.bump_version' }]],
    ['another column', [{ ...bump, arguments: ['id'] }]],
    ['inserts only', [{ ...bump, onUpdate: false }]],
    ['updates only', [{ ...bump, onInsert: false }]],
  ])('is refused with %s', (_, triggers) => {
    const { message } = refusal(() => resolve(options, { triggers }));
    expect(message).toContain('expected version to move with every write, also one from psql');
    expect(message).toContain(
      `create trigger "freshet_bump_version" before insert or update on "public"."users" for each row execute function freshet.bump_version('version'); alter table "public"."users" enable always trigger "freshet_bump_version";`,
    );
  });

  test('may be moved by two triggers', () => {
    const triggers = [
      { ...bump, onUpdate: false },
      { ...bump, onInsert: false },
    ];
    expect(resolve(options, { triggers }).etag).toBe('version');
  });

  test.each([
    ['name', 'text'],
    ['balance', 'numeric'],
  ])('is refused as %s, which is %s', versionColumn => {
    const triggers = [{ ...bump, arguments: [versionColumn] }];
    expect(refusal(() => resolve({ etag: 'version', versionColumn }, { triggers })).message).toContain(
      `expected ${versionColumn} to be bigint (or integer) and not null`,
    );
  });

  test('has to be shown', () => {
    const { message } = refusal(() => resolve({ ...options, columns: ['id'] }, { triggers: [bump] }));
    expect(message).toContain('expected versionColumn to be an exposed column, found "version"');
  });
});

describe('the name of a representation', () => {
  const rep = (options: TableOptions, facts?: Partial<TableFacts>): string => resolve(options, facts).rep;

  test('is the same for the same definition', () => {
    expect(rep({ columns: ['id', 'name'] })).toBe(
      rep({ columns: ['id', 'name'], ttl: '1h', rewarm: 'never', write: 'cache-aside' }),
    );
  });

  test('is another one for every other body or tag', () => {
    const reps = [
      rep({}),
      rep({ columns: ['id', 'name'] }),
      rep({ columns: ['name', 'id'] }),
      rep({ columns: ['id', 'balance'] }),
      rep({ columns: ['id', 'balance'], numbers: { balance: 'number' } }),
      rep({ etag: 'version', versionColumn: 'version' }, { triggers: [bump] }),
    ];
    expect(new Set(reps).size).toBe(reps.length);
  });
});

describe('a catalog', () => {
  test('knows the resources of a table', () => {
    const config = defineConfig({
      resources: { users: table('users'), people: table('public.users', { columns: ['id'] }) },
    });
    const catalog = resolveCatalog(config, [users], [factsOf(users)]);
    expect(catalog.of('users').map(({ name }) => name)).toEqual(['users', 'people']);
    expect(catalog.of('teams')).toEqual([]);
    expect([...catalog.tables.keys()]).toEqual(['users']);
  });

  test('lists every problem of every resource in one error', () => {
    const config = defineConfig({
      resources: {
        users: table('usrs'),
        'a/b': table('users', { ttl: 'soon' as '1s' }),
        health: table('users'),
      },
    });
    const { message } = refusal(() => resolveCatalog(config, [users], [factsOf(users)]));
    expect(message).toMatch(/^4 problems with the resources:/);
    expect(message).toContain(
      'users (table usrs): expected an existing table, found none of that name\n      did you mean users?',
    );
    expect(message).toContain('a/b (table users): expected a name of letters, digits, - and _');
    expect(message).toContain('a/b (table users): expected ttl');
    expect(message).toContain('health (table users): expected a name of its own, found /health');
  });
});

describe('without a configuration', () => {
  const noKey = shape('events', [column('at', 'timestamptz')], []);
  const partition = shape('users_2026', [column('id', 'int4')]);
  const view = shape('report', [column('id', 'int4')], []);
  const billing = {
    ...shape('invoices', [column('id', 'int4')]),
    schema: 'billing',
    qualified: 'billing.invoices',
  };
  const facts = [
    factsOf(users),
    factsOf(noKey),
    factsOf(partition, { partitionOf: 'public.users' }),
    factsOf(view, { kind: 'view' }),
    factsOf(billing),
  ];

  test('every table of schema public with a primary key is served, the others are noted', () => {
    const catalog = resolveCatalog(null, [users, noKey, partition, view, billing], facts);
    expect([...catalog.resources.keys()]).toEqual(['users']);
    expect(catalog.resources.get('users')!.write).toBe(false);
    expect(catalog.notes).toEqual([
      'not served: events (table events): expected a primary key, found none\n      alter table public.events add primary key (…);',
    ]);
  });

  test('an empty database is no error', () => {
    expect(resolveCatalog(null, [], []).resources.size).toBe(0);
  });

  test('a database of which nothing can be served is one', () => {
    const { message } = refusal(() => resolveCatalog(null, [noKey], facts));
    expect(message).toContain('events (table events): expected a primary key');
  });
});

test('a wrong column name does not compile where the row type is known', () => {
  interface User {
    id: number;
    name: string;
  }
  // @ts-expect-error: no such column
  table<User>('users', { columns: ['id', 'nmae'] });
  expect(table<User>('users', { columns: ['id', 'name'] }).options.columns).toEqual(['id', 'name']);
});
