import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { rowPath } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { untilMode } from '../support/reading.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
const BOUND_MS = 1_000;

/** Type, a value in SQL, and what a client reads. */
const VALUES: readonly [type: string, sql: string, json: string][] = [
  ['smallint', '-32768', '-32768'],
  ['integer', '2147483647', '2147483647'],
  ['bigint', '9007199254740993', '"9007199254740993"'],
  ['numeric', '1e30 + 0.000000001', '"1000000000000000000000000000000.000000001"'],
  ['numeric(12,4)', '-0.5', '"-0.5000"'],
  ['real', '0.1', '0.1'],
  ['double precision', '0.1 + 0.2::float8', '0.30000000000000004'],
  ['double precision', "'-Infinity'", '"-Infinity"'],
  ['boolean', 'false', 'false'],
  ['text', `E'" \\\\ \\t \\u2028 </script> Grüße 😀'`, JSON.stringify('" \\ \t \u2028 </script> Grüße 😀')],
  ['varchar(3)', "'abc'", '"abc"'],
  ['char(4)', "'ab'", '"ab  "'],
  ['uuid', "'C0FFEE00-0000-4000-8000-000000000001'", '"c0ffee00-0000-4000-8000-000000000001"'],
  ['bytea', `'\\x00ff10'`, '"AP8Q"'],
  ['date', "'2026-02-28'", '"2026-02-28"'],
  ['time', "'23:59:59.999999'", '"23:59:59.999999"'],
  ['timestamp', "'2026-11-21 10:00:00'", '"2026-11-21T10:00:00.000000"'],
  ['timestamptz', "'2026-11-21 12:00:00.000001+02'", '"2026-11-21T10:00:00.000001Z"'],
  ['interval', "'1 day -00:00:01'", '"P1DT-1S"'],
  ['json', `'{"n":12345678901234567890, "n":1.0}'`, '{"n":12345678901234567890, "n":1.0}'],
  ['jsonb', `'{"b":[1.10,null],"a":"\\u00e9"}'`, '{"a": "é", "b": [1.10, null]}'],
  ['mood', "'very calm'", '"very calm"'],
  ['integer[]', "'{1,NULL,-3}'", '[1,null,-3]'],
  ['bigint[]', "'{9007199254740993}'", '["9007199254740993"]'],
  ['text[]', `array['a,b', 'NULL', null, '']`, '["a,b","NULL",null,""]'],
  ['integer[]', "'{{1,2},{3,4}}'", '[[1,2],[3,4]]'],
  ['inet', "'10.0.0.1/8'", '"10.0.0.1/8"'],
  ['int4range', "'[1,5]'", '"[1,6)"'],
];

/** Keys that are easily taken apart wrongly, for two text columns. */
const WORDS: readonly (readonly [string, string])[] = [
  ['en', 'plain'],
  ['a,b', 'c'],
  ['a', 'b,c'],
  ['', 'empty'],
  ['empty', ''],
  ['%2C', '%'],
  ["it's", '"so"'],
  ['a/b', '../c'],
  ['{x}', '[y]'],
  ['Straße', '日本 語'],
  ['NULL', 'null'],
  ['a:b', 'c;d=e'],
  [' ', '+'],
];

const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
const config = defineConfig({
  resources: {
    things: table('things', cold),
    words: table('words', cold),
    days: table('days', cold),
    items: table('Odd schema.Odd "table"', cold),
  },
});

const columns = VALUES.map(([type], i) => `v${i} ${type}`).join(', ');

describe('every value, on its way from Postgres through the cache', () => {
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create type mood as enum ('calm', 'very calm');
               create table things (id bigint primary key, ${columns});
               insert into things values (9007199254740993, ${VALUES.map(([, sql]) => sql).join(', ')});
               insert into things (id) values (-1);
               create table words (lang text, word varchar(40), uses int not null default 0, primary key (lang, word));
               create table days (org uuid, day date, mood mood, note text, primary key (mood, day, org));
               insert into days values
                 ('c0ffee00-0000-4000-8000-000000000001', '2026-02-28', 'very calm', 'one');
               create schema "Odd schema";
               create table "Odd schema"."Odd ""table""" (id int primary key, "A ""column""" text, "é" int);
               insert into "Odd schema"."Odd ""table""" values (1, 'x', 2)`,
      config,
    });
    for (const [lang, word] of WORDS)
      await world.database.query('insert into words values ($1, $2)', [lang, word]);
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  /** Reads a row until it came out of the cache; the body must be the same, byte for byte, each time. */
  async function missAndHit(path: string): Promise<string> {
    const miss = await api.get(path);
    expect(miss.status).toBe(200);
    expect(miss.headers['cache-status']).toBe('freshet; fwd=uri-miss; stored');
    const hit = await api.get(path);
    expect(hit.headers['cache-status']).toBe('freshet; hit');
    const sameHeaders = ['etag', 'content-length', 'content-type', 'freshet-version', 'freshet-token'];
    for (const name of sameHeaders) expect([name, hit.headers[name]]).toEqual([name, miss.headers[name]]);
    expect(hit.body).toBe(miss.body);
    expect(Number(hit.headers['content-length'])).toBe(Buffer.byteLength(hit.body));
    return hit.body;
  }

  test('is exactly what Postgres holds, on a miss as on a hit', async () => {
    const expected = VALUES.map(([, , json], i) => `"v${i}":${json}`).join(',');
    expect(await missAndHit('/things/9007199254740993')).toBe(`{"id":"9007199254740993",${expected}}`);
  });

  test('may be null', async () => {
    const expected = VALUES.map((_, i) => `"v${i}":null`).join(',');
    expect(await missAndHit('/things/-1')).toBe(`{"id":"-1",${expected}}`);
  });

  test('changes the tag when it changes, however little, and only then', async () => {
    const read = async () => (await api.get('/things/9007199254740993')).headers.etag;
    const edit = (assignments: string): Promise<unknown> =>
      world.database.query(`update things set ${assignments} where id > 0`);
    const first = await read();
    for (const change of ["v17 = v17 + '1 microsecond'", 'v6 = 0.3', `v19 = '{"n":1}'`, 'v9 = null']) {
      const before = await read();
      await edit(change);
      await eventually(change, read, seen => seen !== before, BOUND_MS);
    }
    await edit(VALUES.map(([, sql], i) => `v${i} = ${sql}`).join(', '));
    await eventually('the first tag is back', read, seen => seen === first, BOUND_MS);
  });

  test('names its row: composite keys of any text, in the path and in the stream', async () => {
    for (const key of WORDS) {
      const path = `/words/${rowPath(key)}`;
      const expected = (uses: number) =>
        `{"lang":${JSON.stringify(key[0])},"word":${JSON.stringify(key[1])},"uses":${uses}}`;
      expect(await missAndHit(path)).toBe(expected(0));
      await world.database.query('update words set uses = 1 where (lang, word) = ($1, $2)', [...key]);
      await eventually(
        path,
        async () => (await api.get(path)).body,
        body => body === expected(1),
        BOUND_MS,
      );
    }
    // Each edit has reached its own row and no other.
    const { rows } = await world.database.query('select count(*)::int as n from words where uses = 1');
    expect((rows[0] as { n: number }).n).toBe(WORDS.length);
  });

  test('names its row: an enum, a date and a uuid together', async () => {
    const path = '/days/very%20calm,2026-02-28,c0ffee00-0000-4000-8000-000000000001';
    expect(await missAndHit(path)).toContain('"note":"one"');
    await world.database.query(`update days set note = 'two'`);
    await eventually(
      path,
      async () => (await api.get(path)).body,
      body => body.includes('"two"'),
      BOUND_MS,
    );
    for (const other of [
      path.replace('c0ffee', 'C0FFEE'),
      path.replace('02-28', '2-28'),
      path.replace('%20', '+'),
    ]) {
      expect((await api.get(other)).status).toBe(404);
    }
  });

  test('is read, followed and checked in a table of any name', async () => {
    expect(await missAndHit('/items/1')).toBe('{"id":1,"A \\"column\\"":"x","é":2}');
    await world.database.query(`update "Odd schema"."Odd ""table""" set "é" = 3`);
    await eventually(
      'the edit',
      async () => (await api.get('/items/1')).body,
      body => body.includes('"é":3'),
      BOUND_MS,
    );
  });

  test('is found by the check of GUARDED mode under every key', async () => {
    const paths = [
      ...WORDS.map(key => `/words/${rowPath(key)}`),
      '/things/-1',
      '/things/9007199254740993',
      '/items/1',
    ];
    for (const path of paths) await api.get(path);
    worker.signal('SIGSTOP');
    await untilMode(api, 'GUARDED');
    for (const path of paths) {
      expect((await api.get(path)).headers['cache-status']).toBe('freshet; hit; detail=GUARDED');
    }
    worker.signal('SIGCONT');
  });
});
