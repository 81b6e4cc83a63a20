import type pg from 'pg';
import { FreshetError } from '../errors.ts';
import { type Representation, represent } from '../fill/represent.ts';
import type { Xid } from '../protocol/xid.ts';
import type { Resource } from '../resources/resource.ts';
import { AS_TEXT } from './pool.ts';
import { type Decision, inTransaction } from './transaction.ts';
import {
  type Aim,
  type Assignments,
  deleteStatement,
  insertStatement,
  lockStatement,
  updateStatement,
  type WriteStatement,
} from './write-sql.ts';
import { type Attempt, writeTrouble } from './write-trouble.ts';

export { type Assignments, DEFAULT } from './write-sql.ts';

/** What the committed transaction did. */
export interface Written {
  /** The row as it was left; null when it is gone. Made before COMMIT: what cannot be shown is not written. */
  readonly representation: Representation | null;
  /** The row's key now (an update may have changed it), or at last. */
  readonly key: readonly string[];
  readonly xid: Xid;
}

export type WriteOutcome =
  | { readonly status: 'written'; readonly written: Written }
  | { readonly status: 'absent' }
  /** The guard did not hold. `etag`: what is there now; null where that cannot be told. */
  | { readonly status: 'refused'; readonly etag: string | null };

/**
 * What must be true of the row at the moment of the write, checked inside the writing transaction: the cache, or a
 * read before it, would leave a gap in which another writer fits.
 */
export type Guard =
  /** The row has one of these versions: part of the statement's own condition, one round trip. */
  | { readonly kind: 'versions'; readonly versions: readonly string[] }
  /** Judged by the tag of the row's current representation, while the row is locked. */
  | { readonly kind: 'current'; readonly holds: (etag: string) => boolean };

const ABSENT: WriteOutcome = { status: 'absent' };

/**
 * Inserts a row. `onlyNew`: a row that already has this key refuses the write, instead of being an error.
 * @throws FreshetError as `writeTrouble` and `inTransaction` say.
 */
export async function insertRow(
  pool: pg.Pool,
  resource: Resource,
  assignments: Assignments,
  { onlyNew }: { onlyNew: boolean },
): Promise<WriteOutcome> {
  const statement = insertStatement(resource, assignments, onlyNew);
  return transact(pool, { resource, op: 'insert', parameters: statement.parameters }, async client => {
    const row = await runOne(client, resource, statement);
    if (row) return written(row, represent(resource, row.texts));
    if (!onlyNew) throw nothingInserted(resource);
    const key = resource.table.key.map(column => assignments.get(column.name));
    return { status: 'refused', etag: await currentTag(client, resource, key) };
  });
}

/** Sets the given columns of one row. @throws FreshetError as `writeTrouble` and `inTransaction` say. */
export async function updateRow(
  pool: pg.Pool,
  resource: Resource,
  key: readonly string[],
  assignments: Assignments,
  guard: Guard | null,
): Promise<WriteOutcome> {
  const aim = { resource, key, versions: versionsOf(guard) };
  const statement = updateStatement(aim, assignments);
  // The lock an UPDATE itself takes: rows that refer to this one may go on being written.
  const hasNewKey = resource.table.key.some(column => assignments.has(column.name));
  const lock = hasNewKey ? 'for update' : 'for no key update';
  return transact(pool, { resource, op: 'update', parameters: statement.parameters }, async client => {
    const row = await runGuarded(client, aim, guard, lock, statement);
    return 'status' in row ? row : written(row, represent(resource, row.texts));
  });
}

/** Deletes one row. @throws FreshetError as `writeTrouble` and `inTransaction` say. */
export async function deleteRow(
  pool: pg.Pool,
  resource: Resource,
  key: readonly string[],
  guard: Guard | null,
): Promise<WriteOutcome> {
  const aim = { resource, key, versions: versionsOf(guard) };
  const statement = deleteStatement(aim);
  return transact(pool, { resource, op: 'delete', parameters: statement.parameters }, async client => {
    const row = await runGuarded(client, aim, guard, 'for update', statement);
    return 'status' in row ? row : written(row, null);
  });
}

/** The row that the statement wrote, or why it wrote none. */
async function runGuarded(
  client: pg.PoolClient,
  aim: Aim,
  guard: Guard | null,
  lock: 'for update' | 'for no key update',
  statement: WriteStatement,
): Promise<Row | WriteOutcome> {
  const { resource, key } = aim;
  if (guard?.kind === 'current') {
    const current = await runOne(client, resource, lockStatement(aim, lock));
    if (!current) return ABSENT;
    const { etag } = represent(resource, current.texts);
    if (!guard.holds(etag)) return { status: 'refused', etag };
  }
  const row = await runOne(client, resource, statement);
  if (row) return row;
  if (guard?.kind !== 'versions') return ABSENT;
  const etag = await currentTag(client, resource, key);
  return etag === null ? ABSENT : { status: 'refused', etag };
}

const versionsOf = (guard: Guard | null): readonly string[] | null =>
  guard?.kind === 'versions' ? guard.versions : null;

/** Commits what was written, and nothing else; puts every refusal into words. */
async function transact(
  pool: pg.Pool,
  attempt: Attempt,
  work: (client: pg.PoolClient) => Promise<WriteOutcome>,
): Promise<WriteOutcome> {
  const decide = async (client: pg.PoolClient): Promise<Decision<WriteOutcome>> => {
    const value = await work(client);
    return { commit: value.status === 'written', value };
  };
  try {
    return await inTransaction(pool, decide);
  } catch (error) {
    throw writeTrouble(error, attempt);
  }
}

/** One row of `outputs`: the resource's columns as Postgres prints them, the key, the transaction's id. */
interface Row {
  readonly texts: readonly (string | null)[];
  readonly key: readonly string[];
  readonly xid: Xid;
}

const written = ({ key, xid }: Row, representation: Representation | null): WriteOutcome => ({
  status: 'written',
  written: { representation, key, xid },
});

async function runOne(
  client: pg.PoolClient,
  resource: Resource,
  statement: WriteStatement,
): Promise<Row | null> {
  const { text, values } = statement;
  const result = await client.query<(string | null)[]>({
    text,
    values,
    rowMode: 'array',
    types: AS_TEXT,
  } as pg.QueryArrayConfig);
  const row = result.rows[0];
  if (!row) return null;
  const { columns, table } = resource;
  const changed = columns.find((column, i) => result.fields[i]!.dataTypeID !== column.typeOid);
  if (changed) throw columnChanged(resource, changed.name);
  return {
    texts: row.slice(0, columns.length),
    key: row.slice(columns.length, columns.length + table.key.length) as string[],
    xid: BigInt(row.at(-1)!),
  };
}

/** The tag of the row as the transaction sees it now; null without a row or without a whole key. */
async function currentTag(
  client: pg.PoolClient,
  resource: Resource,
  key: readonly unknown[],
): Promise<string | null> {
  if (!key.every(text => typeof text === 'string')) return null;
  const current = await runOne(client, resource, lockStatement({ resource, key, versions: null }, ''));
  return current && represent(resource, current.texts).etag;
}

const nothingInserted = (resource: Resource): FreshetError =>
  new FreshetError({
    code: 'refused-by-trigger',
    message: `The database did not take the row: a trigger of ${resource.table.qualified} left it out.`,
  });

const columnChanged = (resource: Resource, column: string): FreshetError =>
  new FreshetError({
    code: 'definition-changed',
    message: `Column ${column} of ${resource.table.qualified} has another type than when "${resource.name}" was set up.`,
    hint: 'The definition is read again by itself; if this stays, adjust the resource or restart.',
    retryable: true,
  });
