import type pg from 'pg';
import { originError } from '../shared/origin/pool.ts';
import type { FeedItem } from './feed/feed.ts';

const MOST_CAUSE_CHARACTERS = 2_000;

/** Keeps a change that could not be read, with its raw bytes and its cause. The position waits until it is safe. */
export async function parkDeadLetter(
  pool: pg.Pool,
  feed: string,
  { place, raw, error }: Extract<FeedItem, { kind: 'unreadable' }>,
): Promise<void> {
  const told = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  // A parser's words may quote what Postgres takes for no text at all; the bytes themselves are kept beside them.
  const cause = told.replaceAll('\0', '\uFFFD').slice(0, MOST_CAUSE_CHARACTERS);
  try {
    await pool.query('insert into freshet.dead_letter (feed, place, cause, raw) values ($1, $2, $3, $4)', [
      feed,
      place,
      cause,
      raw,
    ]);
  } catch (failure) {
    throw originError('a dead letter could not be kept', failure);
  }
}
