import pg from 'pg';
import { FreshetError } from '../errors.ts';

/** How often a write is tried when Postgres undid it only because of others: deadlock, serialization failure. */
export const WRITE_ATTEMPTS = 3;

/** Serialization failure, deadlock. Nothing of the transaction is left, and the same work may succeed at once. */
const UNDONE_BY_OTHERS = new Set(['40001', '40P01']);

/** Endings of the session itself, while COMMIT was under way: shutdown, crash, lost connection, session timeouts. */
const SESSION_ENDED = /^(57P|08|25P)/;

export interface Decision<T> {
  readonly commit: boolean;
  readonly value: T;
}

/** The SQLSTATE of an error that Postgres itself reported; null for trouble on the way to it. */
export const sqlStateOf = (error: unknown): string | null =>
  error instanceof pg.DatabaseError ? (error.code ?? null) : null;

/**
 * Runs `work` in one transaction, READ COMMITTED whatever the default is: a statement that had to wait for a row's
 * lock must then see the row as the holder left it. Undone work is done again, at most `WRITE_ATTEMPTS` times.
 * @throws FreshetError `commit-unknown` when the connection was lost in COMMIT, so that nobody knows; for every other
 * error nothing was written, and it is thrown as it came.
 */
export async function inTransaction<T>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Decision<T>>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptTransaction(pool, work);
    } catch (error) {
      if (attempt === WRITE_ATTEMPTS || !UNDONE_BY_OTHERS.has(sqlStateOf(error) ?? '')) throw error;
    }
  }
}

async function attemptTransaction<T>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Decision<T>>,
): Promise<T> {
  const client = await pool.connect();
  // A client that is out of the pool has no other listener: without one, a lost connection would end the process.
  let lost: Error | undefined;
  const onError = (error: Error): void => {
    lost = error;
  };
  client.on('error', onError);
  try {
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
    const { commit, value } = await work(client);
    // Not sent yet, so there is nothing to be unsure of.
    if (lost) throw lost;
    if (commit) await commitOn(client);
    else await client.query('ROLLBACK');
    return value;
  } catch (error) {
    await client.query('ROLLBACK').catch(onError);
    throw error;
  } finally {
    client.off('error', onError);
    client.release(lost);
  }
}

async function commitOn(client: pg.PoolClient): Promise<void> {
  try {
    await client.query('COMMIT');
  } catch (error) {
    const sqlState = sqlStateOf(error);
    // Said by Postgres in an orderly way (a deferred constraint, say): the transaction is gone.
    if (sqlState !== null && !SESSION_ENDED.test(sqlState)) throw error;
    throw new FreshetError({
      code: 'commit-unknown',
      message: 'The connection to the database was lost during COMMIT: the write may have happened, or not.',
      hint: 'GET the row and compare before writing again.',
      cause: error,
    });
  }
}
