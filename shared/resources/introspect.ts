import { qualifiedName } from './keys.ts';
import type { Column, JsonKind, TableShape } from './resource.ts';
import { TYPE } from './type-oids.ts';

/** Runs one statement, whichever way its values are parsed. */
export type Query = (sql: string, params?: unknown[]) => Promise<{ rows: Record<string, unknown>[] }>;

export interface IntrospectOptions {
  /** `name` (of schema public) or `schema.name`; absent: all of every schema that is not Postgres' own or ours. */
  readonly tables?: readonly string[];
}

/**
 * Tables, partitioned tables, views and foreign tables as the catalogs describe them, by schema and name. Names that
 * do not exist are simply not among them. What cannot be served has its reasons in `tableFacts`.
 */
export async function introspect(query: Query, options: IntrospectOptions = {}): Promise<TableShape[]> {
  const names = options.tables ? JSON.stringify(options.tables.map(splitName)) : null;
  const { rows } = await query(SHAPES, [names]);
  return rows.map(row => shapeOf(JSON.parse(row.shape as string) as CatalogTable));
}

/** `users` → public and users; `billing.invoices` → billing and invoices. */
export function splitName(table: string): [schema: string, name: string] {
  const dot = table.indexOf('.');
  return dot < 0 ? ['public', table] : [table.slice(0, dot), table.slice(dot + 1)];
}

// Everything comes as one JSON text a table: no parser of any client has a say in it.
const SHAPES = `
  with recursive unwrapped as (
    select oid as domain, typbasetype as base, typtypmod as typmod from pg_catalog.pg_type where typtype = 'd'
    union all
    select u.domain, t.typbasetype, t.typtypmod
      from unwrapped u join pg_catalog.pg_type t on t.oid = u.base and t.typtype = 'd'
  ),
  domains as (
    select u.* from unwrapped u join pg_catalog.pg_type t on t.oid = u.base and t.typtype <> 'd'
  )
  select json_build_object(
    'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'identity', c.relreplident,
    'columns', coalesce((
      select json_agg(json_build_object(
        'number', a.attnum,
        'name', a.attname,
        'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'baseType', pg_catalog.format_type(b.oid, null),
        'typeOid', b.oid::int8,
        'delimiter', e.typdelim,
        'elementTypeOid', e.oid::int8,
        'elementIsArray', e.oid is not null and exists (select from pg_catalog.pg_type where typarray <> 0 and typarray = e.oid),
        'notNull', a.attnotnull or t.typnotnull,
        'hasDefault', a.atthasdef or a.attidentity <> '' or t.typdefault is not null,
        'generated', a.attgenerated <> '' or a.attidentity = 'a',
        'length', case when b.oid = ${TYPE.varchar} then nullif(coalesce(d.typmod, a.atttypmod), -1) - 4 end,
        'deterministic', coalesce(o.collisdeterministic, true),
        'labels', (
          select json_agg(l.enumlabel order by l.enumsortorder) from pg_catalog.pg_enum l
          where l.enumtypid = coalesce(e.oid, b.oid)
        )
      ) order by a.attnum)
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type t on t.oid = a.atttypid
      left join domains d on d.domain = a.atttypid
      join pg_catalog.pg_type b on b.oid = coalesce(d.base, a.atttypid)
      left join pg_catalog.pg_type i on i.typarray = b.oid and i.oid = b.typelem
      left join domains ed on ed.domain = i.oid
      left join pg_catalog.pg_type e on e.oid = coalesce(ed.base, i.oid)
      left join pg_catalog.pg_collation o on o.oid = a.attcollation
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ), '[]'::json),
    'key', coalesce((
      select json_agg(k.attnum order by k.place)
      from pg_catalog.pg_index x
      cross join lateral unnest(x.indkey::int2[]) with ordinality as k(attnum, place)
      where x.indrelid = c.oid and x.indisprimary and k.place <= x.indnkeyatts
    ), '[]'::json)
  )::text as shape
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and case when $1::json is null
      then n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'freshet')
      else exists (
        select from json_array_elements($1::json) asked where asked ->> 0 = n.nspname and asked ->> 1 = c.relname
      ) end
  order by n.nspname, c.relname`;

interface CatalogColumn {
  number: number;
  name: string;
  type: string;
  baseType: string;
  typeOid: number;
  delimiter: string | null;
  elementTypeOid: number | null;
  elementIsArray: boolean;
  notNull: boolean;
  hasDefault: boolean;
  generated: boolean;
  length: number | null;
  deterministic: boolean;
  labels: string[] | null;
}

interface CatalogTable {
  oid: number;
  schema: string;
  name: string;
  kind: string;
  identity: 'd' | 'f' | 'i' | 'n';
  columns: CatalogColumn[];
  /** Attribute numbers. */
  key: number[];
}

const IDENTITY = { d: 'default', f: 'full', i: 'index', n: 'nothing' } as const;

function shapeOf(table: CatalogTable): TableShape {
  const columns = new Map(table.columns.map(column => [column.number, columnOf(column)]));
  return {
    oid: table.oid,
    schema: table.schema,
    name: table.name,
    qualified: qualifiedName(table.schema, table.name),
    columns: [...columns.values()],
    key: table.key.map(number => columns.get(number)!),
    replicaIdentity: IDENTITY[table.identity],
    partitioned: table.kind === 'p',
  };
}

function columnOf(column: CatalogColumn): Column {
  const { elementTypeOid, labels, length } = column;
  // Elements of `box` are separated by semicolons, and those of a domain over an array print as quoted arrays:
  // such arrays stay one string.
  const isArray = elementTypeOid !== null && column.delimiter === ',' && !column.elementIsArray;
  return {
    name: column.name,
    type: column.type,
    baseType: column.baseType,
    typeOid: column.typeOid,
    kind: isArray ? 'array' : jsonKind(column.typeOid),
    ...(isArray ? { elementKind: jsonKind(elementTypeOid), elementTypeOid } : {}),
    notNull: column.notNull,
    hasDefault: column.hasDefault,
    generated: column.generated,
    ...(labels ? { labels } : {}),
    ...(length === null ? {} : { maxLength: length }),
    ...(column.deterministic ? {} : { nondeterministic: true }),
  };
}

const JSON_KINDS: ReadonlyMap<number, JsonKind> = new Map([
  [TYPE.bool, 'boolean'],
  [TYPE.bytea, 'bytea'],
  [TYPE.int2, 'number'],
  [TYPE.int4, 'number'],
  [TYPE.oid, 'number'],
  [TYPE.json, 'json'],
  [TYPE.jsonb, 'json'],
  [TYPE.float4, 'float'],
  [TYPE.float8, 'float'],
  [TYPE.timestamp, 'timestamp'],
  [TYPE.timestamptz, 'timestamptz'],
]);

const jsonKind = (typeOid: number): JsonKind => JSON_KINDS.get(typeOid) ?? 'string';
