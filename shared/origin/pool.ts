import pg from 'pg';
import { FreshetError } from '../errors.ts';
import type { Observer } from '../observe.ts';

/**
 * Settings under which every value of every connection is printed in one way. Keys, tags and representations are
 * built from these texts, in the API, in jobs and from the replication stream alike.
 */
export const PRINTING = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'iso_8601',
  bytea_output: 'hex',
  extra_float_digits: '1',
  lc_monetary: 'C',
} as const;

/** Values as Postgres prints them: nothing is parsed, rounded or turned into a Date on the way. */
export const AS_TEXT: pg.CustomTypesConfig = {
  getTypeParser: () => (text: string | Buffer) => text as string,
};

export interface PoolOptions {
  readonly url: string;
  readonly max: number;
  /** Read pools run every statement in a read-only transaction: a snapshot "sees" an xid of its own. */
  readonly readOnly: boolean;
  readonly statementTimeoutMs: number;
  readonly name: string;
  readonly observer: Observer;
  /** Further settings of every session. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** `-c` options of the startup packet, so that a setting can never be missing on a reconnect. */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\ ]/g, '\\$&')}`)
    .join(' ');
}

const KEEP_ALIVE_MS = 10_000;
const GONE_AFTER_MS = 3_000;

export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: `freshet ${options.name}`,
    types: AS_TEXT,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    // The server's own time-out first; this one is for a server that is gone without a word.
    ...(options.statementTimeoutMs > 0 ? { query_timeout: options.statementTimeoutMs + GONE_AFTER_MS } : {}),
    options: startupOptions({
      ...PRINTING,
      statement_timeout: String(options.statementTimeoutMs),
      idle_in_transaction_session_timeout: '30000',
      ...(options.readOnly ? { default_transaction_read_only: 'on' } : {}),
      ...options.settings,
    }),
  });
  pool.on('error', error => options.observer.emit({ type: 'postgres.lost', use: options.name, error }));
  return pool;
}

/** Classes of SQLSTATE that mean "not now": connection trouble, resources, shutdown, timeouts. */
const PASSING = /^(08|53|57|40)/;

const INSUFFICIENT_PRIVILEGE = '42501';

/** What a failed read or probe means; writes have a mapping of their own. */
export function originError(doing: string, error: unknown): FreshetError {
  if (error instanceof FreshetError) return error;
  const sqlState = error instanceof pg.DatabaseError ? (error.code ?? null) : null;
  const message = error instanceof Error ? error.message : String(error);
  const retryable = sqlState === null || PASSING.test(sqlState);
  return new FreshetError({
    code: retryable ? 'database-unavailable' : 'database-error',
    message: `${doing}: ${message}`,
    hint: retryable
      ? 'The database could not be asked just now. Check DATABASE_URL and that the primary accepts connections.'
      : sqlState === INSUFFICIENT_PRIVILEGE
        ? 'The role of DATABASE_URL lacks a right: `freshet doctor` names it, with the statement that grants it.'
        : `Postgres refused the statement (SQLSTATE ${sqlState}).`,
    retryable,
    cause: error,
  });
}
