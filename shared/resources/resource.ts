import type { EtagStrategy, RewarmPolicy, WriteStrategy } from './define.ts';

/** The one JSON type of a column (never of a value): see values.ts. */
export type JsonKind =
  | 'number'
  | 'string'
  | 'boolean'
  | 'json'
  | 'timestamptz'
  | 'timestamp'
  | 'bytea'
  | 'float'
  /** int8 and numeric declared as numbers: refused where a JSON number would not be exact. */
  | 'exact-number'
  | 'array';

export interface Column {
  readonly name: string;
  /** `format_type()`: `integer`, `character varying(80)`, `mood[]`. */
  readonly type: string;
  /** The type under all domains, without a length, as a cast takes it: `character varying`, `integer`. */
  readonly baseType: string;
  /** Of the type under all domains; Postgres never names a domain to its clients. */
  readonly typeOid: number;
  readonly kind: JsonKind;
  /** For arrays: the kind of the elements. */
  readonly elementKind?: JsonKind;
  /** For arrays: the oid of the elements' type, under all domains. */
  readonly elementTypeOid?: number;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  readonly generated: boolean;
  /** Labels of an enum type (for arrays: of the elements' type), in order. */
  readonly labels?: readonly string[];
  /** `varchar(n)`: n, in characters. */
  readonly maxLength?: number;
  /** Text under a collation that takes different texts for equal: `Ä` for `ä`. */
  readonly nondeterministic?: boolean;
}

/** A table as the catalogs describe it. */
export interface TableShape {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `users`, or `billing.users`: `public.` is left out. The name that keys, tags and messages use. */
  readonly qualified: string;
  readonly columns: readonly Column[];
  /** Primary key columns in index order; never empty for a served table. */
  readonly key: readonly Column[];
  readonly replicaIdentity: 'default' | 'full' | 'index' | 'nothing';
  readonly partitioned: boolean;
}

/** A declared table, checked against the database: all that reading, writing and rewarming need. */
export interface Resource {
  readonly name: string;
  readonly table: TableShape;
  /** The exposed columns, in the order of the representation. */
  readonly columns: readonly Column[];
  readonly readOnly: ReadonlySet<string>;
  /** Names the representation: a short hash of its definition (columns, kinds, options that shape the body). */
  readonly rep: string;
  readonly etag: EtagStrategy;
  readonly versionColumn: string | null;
  readonly write: WriteStrategy;
  readonly rewarm: RewarmPolicy;
  readonly warmUpTop: number;
  /** 0: no expiry. */
  readonly ttlMs: number;
  readonly cacheControl: string;
}

/** All resources of a process; replaced as a whole when a table's definition changed. */
export interface Catalog {
  readonly resources: ReadonlyMap<string, Resource>;
  /** Tables served by at least one resource, by qualified name. */
  readonly tables: ReadonlyMap<string, TableShape>;
  /** Tables that nobody declared and that cannot be served either, each with the reason: one line a table. */
  readonly notes: readonly string[];
  /** Resources that show rows of a table. */
  of(qualifiedTable: string): readonly Resource[];
}
