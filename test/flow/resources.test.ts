import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type pg from 'pg';
import { silentObserver } from '../../shared/observe.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { parsePathKey } from '../../shared/resources/canonical-key.ts';
import { introspect, type Query } from '../../shared/resources/introspect.ts';
import { parseJsonExactly } from '../../shared/resources/json-exactly.ts';
import { rowPath, rowTag } from '../../shared/resources/keys.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { decodeValue, rowEncoder } from '../../shared/resources/values.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
/** Prints values as every connection of the product does. */
let pool: pg.Pool;
let query: Query;

beforeAll(async () => {
  database = await createDatabase();
  pool = createPool({
    url: database.url,
    max: 2,
    readOnly: false,
    statementTimeoutMs: 20_000,
    name: 'test',
    observer: silentObserver,
  });
  query = (sql, params) => pool.query(sql, params);
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

const shapeOf = async (table: string): Promise<TableShape> =>
  (await introspect(query, { tables: [table] }))[0]!;

const textsOf = async (sql: string, params: unknown[] = []): Promise<(string | null)[][]> =>
  (await pool.query<(string | null)[]>({ text: sql, values: params, rowMode: 'array' })).rows;

describe('values from Postgres to JSON and back', () => {
  beforeAll(async () => {
    await pool.query(`
      create type mood as enum ('sad', 'ok', 'very "happy"');
      create type point3 as (x int, y text, z numeric);
      create domain email as varchar(80) check (value like '%@%');
      create domain work_email as email;
      create domain score as int8;
      create domain labels as text[]`);
  });

  // Type, value in SQL, what it is in JSON.
  const cases: [type: string, value: string, json: string][] = [
    ['smallint', '-32768', '-32768'],
    ['integer', '2147483647', '2147483647'],
    ['bigint', '9223372036854775807', '"9223372036854775807"'],
    ['oid', '4294967295', '4294967295'],
    ['numeric', '123456789012345678901234567890.123456789', '"123456789012345678901234567890.123456789"'],
    ['numeric(10,3)', '1.5', '"1.500"'],
    ['numeric', "'NaN'", '"NaN"'],
    ['numeric', "'-Infinity'", '"-Infinity"'],
    ['real', '0.1', '0.1'],
    ['real', '1e-30', '1e-30'],
    ['double precision', '0.1', '0.1'],
    ['double precision', '1e300', '1e+300'],
    ['double precision', "'-0'", '-0'],
    ['double precision', '0.30000000000000004', '0.30000000000000004'],
    ['double precision', "'NaN'", '"NaN"'],
    ['double precision', "'Infinity'", '"Infinity"'],
    ['boolean', 'true', 'true'],
    ['boolean', 'false', 'false'],
    ['timestamptz', "'2026-11-21 11:00:00.123456+01'", '"2026-11-21T10:00:00.123456Z"'],
    ['timestamptz', "'2026-11-21 10:00:00+00'", '"2026-11-21T10:00:00.000000Z"'],
    ['timestamptz(0)', "'2026-11-21 10:00:00.4+00'", '"2026-11-21T10:00:00.000000Z"'],
    ['timestamptz', "'infinity'", '"infinity"'],
    ['timestamptz', "'-infinity'", '"-infinity"'],
    ['timestamptz', "'0044-03-15 12:00:00+00 BC'", '"0044-03-15 12:00:00+00 BC"'],
    ['timestamptz', "'294276-12-31 23:59:59.999999+00'", '"294276-12-31T23:59:59.999999Z"'],
    ['timestamp', "'2026-11-21 10:00:00.5'", '"2026-11-21T10:00:00.500000"'],
    ['timestamp', "'0044-03-15 12:00:00.25 BC'", '"0044-03-15 12:00:00.25 BC"'],
    ['date', "'2026-11-21'", '"2026-11-21"'],
    ['date', "'0044-03-15 BC'", '"0044-03-15 BC"'],
    ['date', "'infinity'", '"infinity"'],
    ['time', "'24:00:00'", '"24:00:00"'],
    ['time', "'10:00:00.5'", '"10:00:00.5"'],
    ['timetz', "'10:00:00+05:30'", '"10:00:00+05:30"'],
    ['interval', "'1 year 2 mons -3 days 04:05:06.5'", '"P1Y2M-3DT4H5M6.5S"'],
    ['bytea', "'\\x00ff10'", '"AP8Q"'],
    ['bytea', "''", '""'],
    ['json', `'{"a":12345678901234567890,"b":[1.50,null]}'`, '{"a":12345678901234567890,"b":[1.50,null]}'],
    ['jsonb', `'{"b":1.50,"a":12345678901234567890}'`, '{"a": 12345678901234567890, "b": 1.50}'],
    ['jsonb', `'"text"'`, '"text"'],
    [
      'text',
      `E'line\\nquote" back\\\\slash \\u2028 😀'`,
      JSON.stringify('line\nquote" back\\slash \u2028 😀'),
    ],
    ['varchar(5)', "'ab'", '"ab"'],
    ['char(5)', "'ab'", '"ab   "'],
    ['uuid', "'C0FFEE00-0000-4000-8000-000000000000'", '"c0ffee00-0000-4000-8000-000000000000"'],
    ['mood', `'very "happy"'`, '"very \\"happy\\""'],
    ['inet', "'10.0.0.1'", '"10.0.0.1"'],
    ['cidr', "'10.0.0.0/8'", '"10.0.0.0/8"'],
    ['macaddr', "'08:00:2b:01:02:03'", '"08:00:2b:01:02:03"'],
    ['bit(3)', "B'101'", '"101"'],
    ['xml', "'<a/>'", '"<a/>"'],
    ['point', "'(1,2.5)'", '"(1,2.5)"'],
    ['tsvector', "'a:1 b:2'", `"'a':1 'b':2"`],
    ['int4range', "'[1,5]'", '"[1,6)"'],
    ['tstzmultirange', "'{[2026-11-21 10:00+00,)}'", '"{[\\"2026-11-21 10:00:00+00\\",)}"'],
    ['point3', `row(1, 'a,b"c', 2.50)`, '"(1,\\"a,b\\"\\"c\\",2.50)"'],
    ['work_email', "'a@b'", '"a@b"'],
    ['score', '9007199254740993', '"9007199254740993"'],
    ['int2vector', "'1 2'", '"1 2"'],
    ['integer[]', "'{}'", '[]'],
    ['integer[]', "'{1,NULL,-3}'", '[1,null,-3]'],
    ['integer[]', "'[0:1]={1,2}'", '[1,2]'],
    ['integer[]', "'[2:3][5:6]={{1,2},{3,4}}'", '[[1,2],[3,4]]'],
    ['integer[]', "'{{{1},{2}},{{3},{4}}}'", '[[[1],[2]],[[3],[4]]]'],
    ['bigint[]', "'{9007199254740993}'", '["9007199254740993"]'],
    ['numeric(5,2)[]', "'{1,NULL}'", '["1.00",null]'],
    ['boolean[]', "'{t,f,NULL}'", '[true,false,null]'],
    [
      'text[]',
      `array['NULL', null, '', 'a,b', '{c}', 'say "hi"', 'back\\slash', E'new\\nline', ' padded ', 'plain']`,
      '["NULL",null,"","a,b","{c}","say \\"hi\\"","back\\\\slash","new\\nline"," padded ","plain"]',
    ],
    ['mood[]', `array['ok', 'very "happy"', null]::mood[]`, '["ok","very \\"happy\\"",null]'],
    ['timestamptz[]', "'{2026-11-21 10:00:00.5+00,infinity}'", '["2026-11-21T10:00:00.500000Z","infinity"]'],
    ['bytea[]', "array['\\x00ff'::bytea]", '["AP8="]'],
    ['jsonb[]', `array['{"a":[1,"x"]}'::jsonb, null, '2.0']`, '[{"a": [1, "x"]},null,2.0]'],
    ['point3[]', `array[row(1, 'a', null)::point3]`, '["(1,a,)"]'],
    ['box[]', "'{(1,1),(0,0);(3,3),(2,2)}'", '"{(1,1),(0,0);(3,3),(2,2)}"'],
    ['score[]', "'{1,2}'", '["1","2"]'],
    ['labels', "'{a,b}'", '["a","b"]'],
    ['labels[]', `array['{a,b}'::labels]`, '"{\\"{a,b}\\"}"'],
  ];

  test.each(cases)('%s %s is %s', async (type, value, json) => {
    await pool.query(`drop table if exists one; create table one (id int primary key, v ${type})`);
    await pool.query(`insert into one values (1, ${value}), (2, null)`);
    const shape = await shapeOf('one');
    const encode = rowEncoder(shape.columns);
    const rows = async (): Promise<string[]> => (await textsOf('select * from one order by id')).map(encode);
    const expected = [`{"id":1,"v":${json}}`, '{"id":2,"v":null}'];
    expect(await rows()).toEqual(expected);

    // What was read can be written, and reads the same again; only lower bounds of arrays are not in the JSON.
    const [, column] = shape.columns;
    const { v } = parseJsonExactly(expected[0]!) as { v: unknown };
    await pool.query('update one set v = null');
    await pool.query('update one set v = $1 where id = 1', [decodeValue(column!, v)]);
    expect(await rows()).toEqual(expected);
  });

  test('json keeps its spaces, its order and even its repeated keys', async () => {
    await pool.query('drop table if exists one; create table one (j json)');
    const encode = rowEncoder((await shapeOf('one')).columns);
    const texts = await textsOf(`select '{"b" : 1,\n "2":0, "1":0, "b":1.0}'::json`);
    expect(encode(texts[0]!)).toBe('{"j":{"b" : 1,\n "2":0, "1":0, "b":1.0}}');
  });

  test('random texts, nested arrays of them and json keep every character', async () => {
    await pool.query('drop table if exists two; create table two (t text, a text[], j json)');
    const { columns } = await shapeOf('two');
    const encode = rowEncoder(columns);
    const text = fc.string({ unit: 'binary', maxLength: 12 }).filter(value => !value.includes('\0'));
    const nasty = fc.string({ unit: fc.constantFrom(...'{},"\\ NUL'), maxLength: 6 });
    const item = fc.option(fc.oneof(text, nasty));
    const rectangle = fc
      .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }))
      .chain(([rows, width]) =>
        fc.array(fc.array(item, { minLength: width, maxLength: width }), {
          minLength: rows,
          maxLength: rows,
        }),
      );
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.oneof(fc.array(item), rectangle),
        fc.jsonValue({ stringUnit: 'grapheme' }),
        async (t, a, j) => {
          const row = { t, a, j: j === null ? [] : j };
          const params = columns.map((column, i) => decodeValue(column, Object.values(row)[i]));
          const [texts] = await textsOf('select $1::text, $2::text[], $3::json', params);
          expect(JSON.parse(encode(texts!))).toEqual(JSON.parse(JSON.stringify(row)));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('every double survives', async () => {
    const encode = rowEncoder((await introspectOf('v float8')).columns);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ noNaN: true }), { minLength: 50, maxLength: 50 }),
        async values => {
          const params = values.map(value => (Object.is(value, -0) ? '-0' : String(value)));
          const texts = await textsOf('select unnest($1::float8[])', [params]);
          const back = texts.map(row => Number((JSON.parse(encode(row)) as { v: number | string }).v));
          expect(back).toEqual(values);
        },
      ),
      { numRuns: 40 },
    );
  });
});

/** The shape of a table made for the occasion. */
async function introspectOf(columns: string): Promise<TableShape> {
  await pool.query(`drop table if exists made cascade; create table made (${columns})`);
  return shapeOf('made');
}

describe('introspection', () => {
  test('reads keys in index order, without included columns', async () => {
    const shape = await introspectOf(
      'note text, b int, a varchar(5), extra int, primary key (a, b) include (extra)',
    );
    expect(shape.key.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(shape.columns.map(({ name }) => name)).toEqual(['note', 'b', 'a', 'extra']);
    expect(shape.key[0]).toMatchObject({
      type: 'character varying(5)',
      baseType: 'character varying',
      maxLength: 5,
      notNull: true,
    });
  });

  test('sees through domains, and nothing is left of dropped columns', async () => {
    const shape = await introspectOf('gone int, who work_email, many score[], id int primary key');
    await pool.query('alter table made drop column gone');
    const [who, many, id] = (await shapeOf('made')).columns;
    expect(shape.columns).toHaveLength(4);
    expect(who).toMatchObject({
      type: 'work_email',
      baseType: 'character varying',
      typeOid: 1043,
      maxLength: 80,
      kind: 'string',
    });
    expect(many).toMatchObject({ type: 'score[]', kind: 'array', elementKind: 'string', elementTypeOid: 20 });
    expect(id).toMatchObject({ name: 'id', kind: 'number' });
  });

  test('tells generated, identity and defaulted columns apart', async () => {
    const { columns } = await introspectOf(`
      id int generated always as identity primary key,
      other int generated by default as identity,
      total int generated always as (1 + 1) stored,
      shown int generated always as (2 + 2) virtual,
      at timestamptz not null default now(),
      plain int`);
    expect(columns.map(({ generated, hasDefault }) => [generated, hasDefault])).toEqual([
      [true, true],
      [false, true],
      [true, true],
      [true, true],
      [false, true],
      [false, false],
    ]);
  });

  test('knows enum labels in their order, and which text has a nondeterministic collation', async () => {
    await pool.query(`
      alter type mood add value 'meh' after 'sad';
      create collation if not exists any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
    const { columns } = await introspectOf('m mood, ms mood[], a text collate any_case, b text collate "C"');
    const [mood, moods, loose, strict] = columns;
    expect(mood!.labels).toEqual(['sad', 'meh', 'ok', 'very "happy"']);
    expect(moods!.labels).toEqual(mood!.labels);
    expect([loose!.nondeterministic, strict!.nondeterministic]).toEqual([true, undefined]);
  });

  test('finds a table by name and schema, and all of them without names', async () => {
    await pool.query(`
      create schema billing; create schema freshet;
      create table billing."In.voice" (id int primary key) ;
      create table freshet.alive (id int primary key);
      create table parts (id int, d date, primary key (id, d)) partition by range (d)`);
    expect(
      (await introspect(query, { tables: ['billing.In.voice', 'parts', 'public.parts', 'absent'] })).map(
        ({ qualified }) => qualified,
      ),
    ).toEqual(['billing.In.voice', 'parts']);
    expect(await shapeOf('parts')).toMatchObject({
      partitioned: true,
      replicaIdentity: 'default',
      schema: 'public',
    });
    const all = (await introspect(query)).map(({ qualified }) => qualified);
    expect(all).toEqual(expect.arrayContaining(['billing.In.voice', 'parts']));
    expect(all.filter(name => /^(freshet|pg_|information_schema)/.test(name))).toEqual([]);
  });
});

describe('keys', () => {
  const digit = fc.constantFrom(...'0123456789');
  const nearInteger = fc.oneof(
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map(String),
    fc.integer().map(String),
    fc.constantFrom(
      '32767',
      '32768',
      '-32768',
      '-32769',
      '2147483647',
      '2147483648',
      '9223372036854775807',
      '9223372036854775808',
    ),
    fc.string({ unit: fc.oneof(digit, digit, fc.constantFrom(...'+- _xe.')), minLength: 1, maxLength: 4 }),
  );
  const hex = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 32, maxLength: 32 });
  const dashed = hex.map(h => h.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'));
  const nearUuid = fc.oneof(
    dashed,
    hex,
    dashed.map(u => u.toUpperCase()),
    dashed.map(u => `{${u}}`),
  );
  const pad =
    (length: number) =>
    (n: number): string =>
      String(n).padStart(length, '0');
  const year = fc.oneof(
    fc.integer({ min: 1, max: 9999 }),
    fc.integer({ min: 0, max: 5_874_898 }),
    fc.constantFrom(1, 4, 4713, 4714, 1900, 2000, 5_874_897),
  );
  const nearDate = fc.oneof(
    fc
      .tuple(
        year.map(pad(4)),
        fc.integer({ min: 0, max: 13 }).map(pad(2)),
        fc.integer({ min: 0, max: 32 }).map(pad(2)),
        fc.constantFrom('', '', ' BC'),
      )
      .map(([y, m, d, era]) => `${y}-${m}-${d}${era}`),
    // The edges of months, leap years and of the type.
    fc
      .tuple(
        year.map(pad(4)),
        fc.constantFrom('02-28', '02-29', '11-23', '11-24', '12-31'),
        fc.constantFrom('', ' BC'),
      )
      .map(([y, d, era]) => `${y}-${d}${era}`),
    fc.constantFrom(
      'infinity',
      '-infinity',
      'Infinity',
      '2026-1-1',
      '20261121',
      '2026-11-21 ',
      'epoch',
      '02026-11-21',
    ),
  );
  const text = fc.string({ unit: 'binary', maxLength: 5 }).filter(value => !value.includes('\0'));
  const nearText = fc.oneof(
    text,
    fc.string({ unit: fc.constantFrom('a', ' ', 'A', 'é', 'e\u0301', '😀', ',', '%'), maxLength: 5 }),
  );
  const nearLabel = fc.constantFrom('sad', 'Sad', 'ok', ' ok', 'very "happy"', '', 'meh');

  const types: [type: string, texts: fc.Arbitrary<string>][] = [
    ['int2', nearInteger],
    ['int4', nearInteger],
    ['int8', nearInteger],
    ['score', nearInteger],
    ['uuid', nearUuid],
    ['date', nearDate],
    ['mood', nearLabel],
    ['text', nearText],
    ['varchar', nearText],
    ['varchar(3)', nearText],
  ];

  // Many texts a statement: the property is about the texts, not about round trips.
  const batch = (texts: fc.Arbitrary<string>): fc.Arbitrary<string[]> =>
    fc.array(texts, { minLength: 200, maxLength: 200, size: 'max' });

  test.each(types)(
    'a path key of type %s is accepted exactly when Postgres prints it so',
    async (type, texts) => {
      const shape = await introspectOf(`id ${type} primary key`);
      let accepted = 0;
      await fc.assert(
        fc.asyncProperty(batch(texts), async asked => {
          // Materialized, so that only valid texts reach the cast.
          const rows = await textsOf(
            `with valid as materialized (
             select text, place from unnest($1::text[]) with ordinality asked(text, place) where pg_input_is_valid(text, '${type}')
           )
           select place::int4, text::${type} from valid where length(text) > -1`,
            [asked],
          );
          const printed = new Map(rows.map(([place, value]) => [Number(place) - 1, value]));
          const answers = asked.map((text, i) => ({
            text,
            expected: printed.get(i) === text,
            key: parsePathKey(shape, rowPath([text])),
          }));
          expect(answers.filter(({ key, expected }) => (key !== null) !== expected)).toEqual([]);
          expect(answers.filter(({ key, text }) => key !== null && key[0] !== text)).toEqual([]);
          accepted += answers.filter(({ key }) => key !== null).length;
        }),
        { numRuns: 15 },
      );
      expect(accepted).toBeGreaterThan(100);
    },
  );

  test.each(types)('equal values of type %s have one key, different ones two', async (type, texts) => {
    const shape = await introspectOf(`id ${type} primary key`);
    let equal = 0;
    await fc.assert(
      fc.asyncProperty(batch(texts), async asked => {
        const rows = await textsOf(
          `with valid as materialized (
             select distinct text from unnest($1::text[]) text where pg_input_is_valid(text, '${type}') limit 60
           )
           select a.text::${type}, b.text::${type}, a.text::${type} = b.text::${type} from valid a, valid b`,
          [asked],
        );
        const tagOf = (value: string | null): string =>
          rowTag('made', parsePathKey(shape, rowPath([value!]))!);
        const wrong = rows.filter(([one, other, same]) => (tagOf(one!) === tagOf(other!)) !== (same === 't'));
        expect(wrong).toEqual([]);
        equal += rows.filter(([, , same]) => same === 't').length;
      }),
      { numRuns: 10 },
    );
    expect(equal).toBeGreaterThan(10);
  });

  test.each([
    ['numeric', '1.0', '1.00'],
    ['float8', '0', '-0'],
    ['char(3)', 'a', 'a  '],
    ['text collate any_case', 'a', 'A'],
    ['jsonb', '1.0', '1.00'],
    ['interval', 'P1D', 'PT24H'],
  ])('%s is no key type: %s and %s are equal there', async (type, one, other) => {
    const [base] = type.split(' collate ');
    const collate = type.slice(base!.length);
    const [row] = await textsOf(`select $1::${base}${collate} = $2::${base}`, [one, other]);
    expect(row).toEqual(['t']);
    const shape = await introspectOf(`id ${type} primary key`);
    expect(parsePathKey(shape, rowPath([one]))).toBeNull();
  });
});
