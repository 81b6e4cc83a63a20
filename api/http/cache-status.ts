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

/** `Cache-Status` of a write: its method goes past the cache by nature. `refill`: what came of a write-through. */
export const writeCacheStatus = (refill: string | null): string =>
  refill === null ? 'freshet; fwd=method' : `freshet; fwd=method; detail=${item(`refill/${refill}`)}`;

/** The member that Freshet adds to `Cache-Status` (RFC 9211). */
export function cacheStatus(facts: CacheFacts): string {
  const { result, ttlSeconds } = facts;
  if (result === 'hit' && facts.mode === 'FRESH' && ttlSeconds === null && facts.why === null)
    return 'freshet; hit';
  const handling = HANDLING[result];
  const ttl = ttlSeconds !== null && handling === 'hit' ? `; ttl=${Math.trunc(ttlSeconds)}` : '';
  const detail = detailOf(facts);
  return `freshet; ${handling}${facts.stored ? '; stored' : ''}${ttl}${detail === '' ? '' : `; detail=${item(detail)}`}`;
}

/** What the standard parameters cannot say, from the general to the particular: `GUARDED/proof-too-old`. */
function detailOf({ result, mode, why }: CacheFacts): string {
  const words: string[] = [];
  if (result === 'negative') words.push('negative');
  if (mode !== 'FRESH') words.push(mode);
  else if (result === 'guarded') words.push('GUARDED');
  if (why !== null && !words.includes(why)) words.push(why);
  return words.join('/');
}

const TOKEN = /^[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*$/;

/** A structured field item (RFC 8941): a token where it can be one, else a string of printable ASCII. */
const item = (text: string): string =>
  TOKEN.test(text) ? text : `"${text.replaceAll(/[^ -~]/g, '?').replaceAll(/["\\]/g, '\\$&')}"`;
