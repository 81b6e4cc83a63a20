/**
 * Resources as their author declares them. `table()` and `defineConfig()` only carry the declaration (typed);
 * what the database says to it is checked at boot by `resolve.ts`.
 */

/** How a representation's entity tag is made: from its bytes, or from a column that a trigger bumps. */
export type EtagStrategy = 'hash' | 'version';
/** After a write through the API: leave the refill to the next reader, or refill before answering. */
export type WriteStrategy = 'cache-aside' | 'write-through' | false;
export type RewarmPolicy = 'never' | 'hot';
/** `'90s'`, `'10m'`, `'1h'`, `'1d'`, or `0` for no expiry. */
export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}` | 0;

export interface TableOptions<C extends string = string> {
  /** Allow-list, in and out, in the order of the representation. Default: every column. */
  readonly columns?: readonly C[];
  /** Columns that are shown but never taken from a request (defaults, triggers). */
  readonly readOnly?: readonly C[];
  readonly filters?: readonly C[];
  readonly orders?: readonly C[];
  readonly maxLimit?: number;
  readonly etag?: EtagStrategy;
  /** Column that holds the version; required by `etag: 'version'`. */
  readonly versionColumn?: C;
  readonly write?: WriteStrategy;
  readonly rewarm?: RewarmPolicy;
  readonly warmUp?: { readonly top: number };
  /** Second line of defence only; freshness does not depend on it. Default 0: none. */
  readonly ttl?: Duration;
  readonly cacheControl?: string;
  /** JSON type of int8 and numeric columns: exact strings (default) or numbers, refused where inexact. */
  readonly numbers?: Partial<Record<C, 'string' | 'number'>>;
}

export interface TableDeclaration<C extends string = string> {
  readonly kind: 'table';
  /** `table` or `schema.table`. */
  readonly table: string;
  readonly options: TableOptions<C>;
}

/**
 * Declares a table as a resource.
 * With a row type, `table<UserRow>('users', …)`, a wrong column name does not compile; without, it fails at boot.
 */
export function table<Row extends object = Record<string, unknown>>(
  name: string,
  options: TableOptions<Extract<keyof Row, string>> = {},
): TableDeclaration<Extract<keyof Row, string>> {
  return { kind: 'table', table: name, options };
}

export interface FreshetConfig {
  /** Path segment → what is served there. */
  readonly resources: Readonly<Record<string, TableDeclaration>>;
}

export const defineConfig = (config: FreshetConfig): FreshetConfig => config;
