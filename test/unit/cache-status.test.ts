import { expect, test } from '@jest/globals';
import { demandsProof } from '../../api/http/cache-control.ts';
import {
  type CacheFacts,
  cacheStatus,
  errorCacheStatus,
  writeCacheStatus,
} from '../../api/http/cache-status.ts';

const hit: CacheFacts = { result: 'hit', mode: 'FRESH', stored: false, ttlSeconds: null, why: null };

test.each<[Partial<CacheFacts>, string]>([
  [{}, 'freshet; hit'],
  [{ ttlSeconds: 59.9 }, 'freshet; hit; ttl=59'],
  [{ ttlSeconds: 0 }, 'freshet; hit; ttl=0'],
  // Who made an entry that was hit is of no interest to anybody.
  [{ stored: true }, 'freshet; hit'],
  [{ stored: true, ttlSeconds: 7 }, 'freshet; hit; ttl=7'],
  [{ result: 'negative', ttlSeconds: 600 }, 'freshet; hit; ttl=600; detail=negative'],
  [{ result: 'negative', mode: 'GUARDED' }, 'freshet; hit; detail=negative/GUARDED'],
  [{ result: 'guarded', mode: 'GUARDED' }, 'freshet; hit; detail=GUARDED'],
  [{ result: 'guarded' }, 'freshet; hit; detail=GUARDED'],
  [{ mode: 'GUARDED' }, 'freshet; hit; detail=GUARDED'],
  [{ result: 'miss', stored: true }, 'freshet; fwd=uri-miss; stored'],
  [{ result: 'miss', stored: true, ttlSeconds: 60 }, 'freshet; fwd=uri-miss; stored'],
  [{ result: 'miss', why: 'fenced' }, 'freshet; fwd=uri-miss; detail=fenced'],
  [{ result: 'miss', stored: true, why: 'stale' }, 'freshet; fwd=stale; stored'],
  [{ result: 'miss', mode: 'GUARDED', why: 'stale' }, 'freshet; fwd=stale; detail=GUARDED'],
  [{ result: 'collapsed' }, 'freshet; fwd=uri-miss; collapsed'],
  [{ result: 'collapsed', stored: true }, 'freshet; fwd=uri-miss; collapsed; stored'],
  [{ result: 'bypass', mode: 'BYPASS' }, 'freshet; fwd=bypass; detail=BYPASS'],
  [{ result: 'bypass', mode: 'BYPASS', why: 'redis-lost' }, 'freshet; fwd=bypass; detail=BYPASS/redis-lost'],
  [{ why: 'two words' }, 'freshet; hit; detail="two words"'],
  [{ why: 'a "b" \\ ü\r\nX: y' }, 'freshet; hit; detail="a \\"b\\" \\\\ ???X: y"'],
])('%j', (facts, member) => {
  expect(cacheStatus({ ...hit, ...facts })).toBe(member);
});

test('writes and errors have a member of their own', () => {
  expect(writeCacheStatus(null)).toBe('freshet; fwd=method');
  expect(writeCacheStatus('stored')).toBe('freshet; fwd=method; detail=refill/stored');
  expect(errorCacheStatus('overloaded')).toBe('freshet; fwd=miss; detail=overloaded');
});

test.each([
  [undefined, false],
  ['', false],
  ['no-cache', true],
  ['No-Cache', true],
  ['max-age=0', true],
  ['max-age=00', true],
  ['max-stale=5 , no-cache', true],
  ['no-cache,no-transform', true],
  ['\tmax-age=0\t,x', true],
  ['max-age=01', false],
  ['max-age=60', false],
  ['s-max-age=0', false],
  ['no-cache-please', false],
  ['x-no-cache', false],
  ['no-store', false],
])('Cache-Control: %s demands a proof: %s', (field, demanded) => {
  expect(demandsProof(field)).toBe(demanded);
});
