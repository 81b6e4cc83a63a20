import type { Column, JsonKind, TableShape } from '../../shared/resources/resource.ts';
import type { TableFacts } from '../../shared/resources/table-facts.ts';
import { TYPE } from '../../shared/resources/type-oids.ts';

type TypeName = keyof typeof TYPE;

const kinds: Partial<Record<TypeName, JsonKind>> = {
  bool: 'boolean',
  bytea: 'bytea',
  int2: 'number',
  int4: 'number',
  oid: 'number',
  json: 'json',
  jsonb: 'json',
  float4: 'float',
  float8: 'float',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
};

/** A nullable column of a built-in type; `int4[]` for arrays. */
export function column(name: string, type: TypeName | `${TypeName}[]`, rest: Partial<Column> = {}): Column {
  const scalar = type.replace('[]', '') as TypeName;
  const kind = kinds[scalar] ?? 'string';
  const isArray = type !== scalar;
  return {
    name,
    type,
    baseType: type,
    typeOid: isArray ? 0 : TYPE[scalar],
    kind: isArray ? 'array' : kind,
    ...(isArray ? { elementKind: kind, elementTypeOid: TYPE[scalar] } : {}),
    notNull: false,
    hasDefault: false,
    generated: false,
    ...rest,
  };
}

let lastOid = 16_384;

/** A table of schema public; `key` names some of the columns, in order. */
export function shape(name: string, columns: readonly Column[], key: readonly string[] = ['id']): TableShape {
  lastOid += 1;
  return {
    oid: lastOid,
    schema: 'public',
    name,
    qualified: name,
    columns,
    key: key.map(keyColumn => columns.find(({ name }) => name === keyColumn)!),
    replicaIdentity: 'default',
    partitioned: false,
  };
}

/** An ordinary, published table that nothing speaks against. */
export const factsOf = (table: TableShape, rest: Partial<TableFacts> = {}): TableFacts => ({
  oid: table.oid,
  name: `${table.schema}.${table.name}`,
  kind: 'table',
  storage: 'permanent',
  replicaIdentity: table.replicaIdentity,
  identityIndex: null,
  partitionOf: null,
  partitions: [],
  children: [],
  rowSecurity: false,
  deferrableKey: false,
  computedKeyColumns: [],
  publicationExists: true,
  published: { missing: [], hasRowFilter: false, hasColumnList: false, viaRoot: true },
  triggers: [],
  ...rest,
});
