/** What the golden envelopes are recorded of: statements, each a transaction unless it opens one itself. */
export interface EnvelopeCase {
  readonly name: string;
  readonly statements: readonly string[];
}

/** Every type that comes with Postgres: column, type, a value, and another one. */
const types: readonly (readonly [name: string, type: string, value: string, other: string])[] = [
  ['i2', 'smallint', '-32768', '7'],
  ['i4', 'integer', '-2147483648', '7'],
  ['i8', 'bigint', '-9223372036854775808', '9007199254740993'],
  ['n', 'numeric', '1234567890123456789.1234567890', "'NaN'"],
  ['n2', 'numeric(20,2)', '1.50', '-0.01'],
  ['f4', 'real', '1.5', "'Infinity'"],
  ['f8', 'double precision', '1e30', "'NaN'"],
  ['money', 'money', '1.23', '-1.23'],
  ['b', 'boolean', 'true', 'false'],
  ['t', 'text', 'E\'tab\\t "quoted" \\\\ é 😀\'', "''"],
  ['v', 'varchar(40)', "'varying'", "'other'"],
  ['ch', 'char(5)', "'ab'", "'abcde'"],
  ['c', '"char"', "'x'", "'y'"],
  ['nm', 'name', "'a name'", "'b'"],
  ['u', 'uuid', "'550E8400-E29B-41D4-A716-446655440000'", "'00000000-0000-0000-0000-000000000000'"],
  ['e', 'mood', "'sad'", "'a,b'"],
  ['de', 'glum', "'sad'", "'glad'"],
  ['dd', 'birthday', "'2024-02-29'", "'infinity'"],
  ['di', 'positive', '9007199254740993', '1'],
  ['dt', 'short', "'s'", "''"],
  ['db', 'flag', 'true', 'false'],
  ['d', 'date', "'2024-01-31'", "'0044-03-15 BC'"],
  ['ts', 'timestamp', "'2024-01-31 10:00:00.123456'", "'infinity'"],
  ['tz', 'timestamptz', "'2024-01-31 10:00:00.123456+02'", "'-infinity'"],
  ['tm', 'time', "'10:00:00.1'", "'24:00'"],
  ['ttz', 'timetz', "'10:00:00+02'", "'23:59:59.999999-12'"],
  ['iv', 'interval', "'1 year 2 days'", "'-1 second'"],
  ['by', 'bytea', "'\\x00ff'", "'\\x'"],
  ['j', 'json', `'{"a": 1, "a": 2}'`, "'null'"],
  ['jb', 'jsonb', `'{"a": 12345678901234567890}'`, "'[]'"],
  ['x', 'xml', "'<a/>'", "'<b>c</b>'"],
  ['ia', 'integer[]', "'{1,NULL,2}'", "'{}'"],
  ['ba', 'bigint[]', "'{9007199254740993}'", "'{}'"],
  ['ta', 'text[]', `'{a,"b,c",NULL}'`, "'{}'"],
  ['ua', 'uuid[]', "'{550e8400-e29b-41d4-a716-446655440000}'", "'{}'"],
  ['da', 'date[]', "'{2024-01-31}'", "'{}'"],
  ['ea', 'mood[]', "'{sad}'", "'{}'"],
  ['inet', 'inet', "'10.0.0.1/8'", "'::1'"],
  ['cidr', 'cidr', "'10.0.0.0/8'", "'::/0'"],
  ['mac', 'macaddr', "'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"],
  ['b1', 'bit', "'1'", "'0'"],
  ['bits', 'bit(3)', "'101'", "'000'"],
  ['vb', 'varbit', "'10101'", "''"],
  ['rng', 'int4range', "'[1,5)'", "'empty'"],
  ['dr', 'daterange', "'[2024-01-01,)'", "'empty'"],
  ['pt', 'point', "'(1,2)'", "'(0,0)'"],
  ['tv', 'tsvector', "'a:1 b:2'", "''"],
  ['o', 'oid', '4294967295', '1'],
];

const typed = ['typed_default', 'typed_full', 'typed_index'];
const longKey = "repeat('key ', 620)";

export const SCHEMA = `
  create type mood as enum ('sad', 'glad', '', 'a,b', '"q"');
  create domain glum as mood;
  create domain birthday as date;
  create domain positive as bigint check (value > 0);
  create domain short as varchar(10);
  create domain boundless as text;
  create domain briefer as short;
  create domain flag as boolean not null default true;

  create table typed_default (id bigint primary key, ${types.map(([name, type]) => `${name} ${type}`).join(', ')});
  create table typed_full (like typed_default including all);
  alter table typed_full replica identity full;
  create table typed_index (like typed_default including all);
  alter table typed_index replica identity using index typed_index_pkey;

  create table days (day date primary key, note text);
  create table strict (
    id int primary key, t text not null default 'dflt', i int not null default 5, b boolean not null default true,
    d date not null default '2020-02-02', u uuid not null default '550e8400-e29b-41d4-a716-446655440000',
    maybe text default 'dflt', number int default 5, doubled int generated always as (i * 2) stored
  );
  create table labels (a text, feeling mood, b briefer, c uuid, d date, e bigint, note text, primary key (d, a, feeling, b, c, e));
  alter table labels replica identity full;

  create table wide (
    id int primary key, small int, t text, v varchar, dt boundless, by bytea, j json, jb jsonb, x xml, n numeric,
    ia integer[], ta text[], ua uuid[], sa smallint[], da date[], na numeric[], ch char(250), tv tsvector
  );
  create table wide_full (like wide including all);
  alter table wide_full replica identity full;
  create table long_keys (a text, b int, small int, primary key (a, b));
  alter table long_keys alter a set storage external;
  create table long_keys_full (like long_keys including all);
  alter table long_keys_full replica identity full;

  create table growing (id int primary key, a text);
  create table parents (id int primary key);
  create table children (id int primary key, parent int references parents on delete cascade);
  create table parts (id int, region text, note text, primary key (id, region)) partition by list (region);
  create table parts_eu partition of parts for values in ('eu');
  create table parts_us partition of parts for values in ('us');
  create schema "od.d";
  create table "od.d"."We""ird.T able" (id int primary key, "Col umn" text, "a""b" text, "constructor" text);
  create schema billing;
  create table billing.invoices (id int primary key, total numeric);
`;

const columns = types.map(([name]) => name).join(', ');
const values = types.map(([, , value]) => value).join(', ');
const others = types.map(([name, , , other]) => `${name} = ${other}`).join(', ');
/** A domain that takes no NULL. */
const nulls = types.map(([name]) => (name === 'db' ? 'false' : 'null')).join(', ');

const oneTable = (table: string): readonly string[] => [
  `insert into ${table} (id, ${columns}) values (9007199254740993, ${values})`,
  `insert into ${table} (id, ${columns}) values (2, ${nulls})`,
  `update ${table} set i4 = 3 where id = 9007199254740993`,
  `update ${table} set ${others} where id = 9007199254740993`,
  `update ${table} set t = 'was null' where id = 2`,
  `update ${table} set id = 9007199254740995 where id = 9007199254740993`,
  `delete from ${table}`,
];

const wideRow = (table: string): string => `
  insert into ${table} select 1, 1, repeat('t', 250), repeat('v', 250), repeat('d', 250),
    decode(repeat('00ff', 125), 'hex'), to_json(repeat('j', 250)), to_jsonb(repeat('j', 250)),
    ('<a>' || repeat('x', 250) || '</a>')::xml, repeat('7', 500)::numeric, array_agg(i), array_agg('text ' || i),
    array_agg('550e8400-e29b-41d4-a716-446655440000'::uuid), array_agg(i), array_agg(date '2024-01-31' + i),
    array_agg(i::numeric), 'c', string_agg('word' || i, ' ')::tsvector from generate_series(1, 60) i`;

const wideTable = (table: string): readonly string[] => [
  // Everything that can be stored out of line is.
  `alter table ${table} set (toast_tuple_target = 128)`,
  ...['t', 'v', 'dt', 'by', 'j', 'jb', 'x', 'n', 'ia', 'ta', 'ua', 'sa', 'da', 'na', 'ch', 'tv'].map(
    column => `alter table ${table} alter ${column} set storage external`,
  ),
  wideRow(table),
  `update ${table} set small = 2`,
  `update ${table} set id = 2`,
  `update ${table} set t = null`,
  `delete from ${table}`,
];

const longKeys = (table: string): readonly string[] => [
  `insert into ${table} values (${longKey}, 1, 1)`,
  `update ${table} set small = 2`,
  `update ${table} set b = 2`,
  `delete from ${table}`,
];

export const CASES: readonly EnvelopeCase[] = [
  ...typed.map(table => ({ name: table.replace('_', '-'), statements: oneTable(table) })),
  {
    name: 'days',
    statements: [
      `set datestyle = 'German'`,
      ...[
        ...['infinity', '-infinity', '4714-11-24 BC', '4713-01-01 BC', '0005-02-29 BC', '0001-12-31 BC'],
        ...[
          '0001-01-01 BC',
          '0001-01-01',
          '0004-02-29',
          '0099-12-31',
          '1582-10-04',
          '1582-10-05',
          '1582-10-14',
        ],
        ...[
          '1582-10-15',
          '1900-02-28',
          '1969-12-31',
          '1970-01-01',
          '9999-12-31',
          '10000-01-01',
          '99999-12-31',
        ],
        ...['100000-01-01', '5874897-12-31'],
      ].map(day => `insert into days values ('${day}', '${day}')`),
      `update days set day = '2024-12-31' where day = '1970-01-01'`,
      `update days set day = '0044-03-15 BC' where day = 'infinity'`,
      `delete from days where day < '0001-01-01'`,
      `reset datestyle`,
    ],
  },
  {
    name: 'nulls-and-defaults',
    statements: [
      `insert into strict (id, maybe, number) values (1, null, null)`,
      `insert into strict (id) values (2)`,
      `update strict set t = '', i = 0, b = false where id = 1`,
      `update strict set t = '__debezium_unavailable_value', maybe = '__debezium_unavailable_value' where id = 1`,
      `update strict set id = 3 where id = 1`,
      `delete from strict`,
    ],
  },
  {
    name: 'composite-keys',
    statements: [
      `insert into labels values (E'é,:/"\\\\ \\n😀', 'a,b', 'b', '550e8400-e29b-41d4-a716-446655440000', '2024-02-29', -9007199254740993, 'n')`,
      `update labels set note = null`,
      `update labels set feeling = '"q"', d = '0001-01-01 BC', e = 9007199254740993`,
      `delete from labels`,
    ],
  },
  { name: 'wide-default', statements: wideTable('wide') },
  { name: 'wide-full', statements: wideTable('wide_full') },
  { name: 'long-keys-default', statements: longKeys('long_keys') },
  { name: 'long-keys-full', statements: longKeys('long_keys_full') },
  {
    name: 'transactions',
    statements: [
      `insert into parents select generate_series(1, 3)`,
      `do $$ begin
         insert into children values (1, 1);
         begin
           insert into children values (2, 2);
           raise exception 'undone';
         exception when others then
           insert into children values (3, 3);
         end;
         update children set parent = 2 where id = 1;
       end $$`,
      `delete from parents where id = 3`,
      `insert into parents values (4) on conflict (id) do update set id = excluded.id`,
      `merge into parents p using (values (4), (5)) v (id) on p.id = v.id when matched then delete when not matched then insert values (v.id)`,
    ],
  },
  {
    name: 'truncations',
    statements: [
      `insert into growing values (1, 'x')`,
      `truncate parents cascade`,
      `truncate growing restart identity`,
      `truncate parts`,
      `truncate parts_eu`,
    ],
  },
  {
    name: 'partitions',
    statements: [
      `insert into parts values (1, 'eu', 'n')`,
      `update parts set note = 'm' where id = 1`,
      `update parts set region = 'us' where id = 1`,
      `delete from parts_us`,
    ],
  },
  {
    name: 'schema-changes',
    statements: [
      `insert into growing values (1, 'a')`,
      `alter table growing add column b int default 9`,
      `insert into growing values (2, 'a', 3)`,
      `alter table growing rename column a to c`,
      `update growing set c = 'x' where id = 2`,
      `alter table growing drop column c`,
      `delete from growing where id = 1`,
      `alter type mood add value 'new'`,
      `insert into labels values ('a', 'new', '', '00000000-0000-0000-0000-000000000000', 'infinity', 0, null)`,
    ],
  },
  {
    name: 'names',
    statements: [
      `insert into "od.d"."We""ird.T able" values (1, 'a', 'b', 'c')`,
      `update "od.d"."We""ird.T able" set id = 2`,
      `truncate "od.d"."We""ird.T able"`,
      `insert into billing.invoices values (1, 1.5)`,
    ],
  },
  {
    name: 'messages',
    statements: [
      `select pg_logical_emit_message(true, 'freshet.invalidate', 'users')`,
      `select pg_logical_emit_message(false, 'freshet.beat.0', '{"writer":"other","number":1,"namespace":"elsewhere"}', true)`,
      `select pg_logical_emit_message(true, 'freshet.beat.0', '{"writer":"w","number":2,"incarnation":"é"}')`,
      `select pg_logical_emit_message(true, 'somebody', 'else')`,
    ],
  },
];
