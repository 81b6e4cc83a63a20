import type { Mode, ReadResult } from '../../shared/observe.ts';

/** What a read tells about itself; see `RowAnswer`. */
export interface CacheFacts {
  readonly result: ReadResult;
  readonly mode: Mode;
  /** This very read made the entry. */
  readonly stored: boolean;
  /** Null: the entry does not expire. */
  readonly ttlSeconds: number | null;
  readonly why: string | null;
}

/**
 * The words of the metric `cache.requests` in those of RFC 9211. `guarded` is a hit: the body came out of the
 * cache, and only the row's version was asked for; the detail says so.
 */
const HANDLING: Readonly<Record<ReadResult, string>> = {
  hit: 'hit',
  negative: 'hit',
  guarded: 'hit',
  miss: 'fwd=uri-miss',
  collapsed: 'fwd=uri-miss; collapsed',
  bypass: 'fwd=bypass',
  error: 'fwd=miss',
};

/** A miss for this reason found an entry that could not be proven: RFC 9211 has a word of its own for it. */
const STALE = 'stale';

/** The member that Freshet adds to `Cache-Status`. */
export function cacheStatus(facts: CacheFacts): string {
  const { result, mode, ttlSeconds, why } = facts;
  if (result === 'hit' && mode === 'FRESH' && ttlSeconds === null && why === null) return 'freshet; hit';
  const isStale = why === STALE && result === 'miss';
  const handling = isStale ? 'fwd=stale' : HANDLING[result];
  let member = `freshet; ${handling}`;
  if (handling !== 'hit' && facts.stored) member += '; stored';
  if (handling === 'hit' && ttlSeconds !== null) member += `; ttl=${Math.trunc(ttlSeconds)}`;
  const detail = detailOf(result, mode, isStale ? null : why);
  return detail === '' ? member : `${member}; detail=${item(detail)}`;
}

/** `Cache-Status` of a write: its method goes past the cache. `refill`: what came of writing through. */
export const writeCacheStatus = (refill: string | null): string =>
  refill === null ? 'freshet; fwd=method' : `freshet; fwd=method; detail=${item(`refill/${refill}`)}`;

/** `Cache-Status` of a read that nobody could answer. */
export const errorCacheStatus = (code: string): string => `freshet; ${HANDLING.error}; detail=${item(code)}`;

/** What the standard parameters cannot say, from the general to the particular: `GUARDED/fenced`. */
function detailOf(result: ReadResult, mode: Mode, why: string | null): string {
  const words: string[] = [];
  if (result === 'negative') words.push('negative');
  if (mode !== 'FRESH') words.push(mode);
  else if (result === 'guarded') words.push('GUARDED');
  if (why !== null) words.push(why);
  return words.join('/');
}

const TOKEN = /^[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*$/;

/** An item of a structured field (RFC 9651): a token where it can be one, else a string of printable ASCII. */
const item = (text: string): string =>
  TOKEN.test(text) ? text : `"${text.replaceAll(/[^ -~]/g, '?').replaceAll(/["\\]/g, '\\$&')}"`;
