import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Freshness } from '../../api/read/freshness.ts';
import type { CacheStore } from '../../shared/cache/store.ts';
import { type RecordingObserver, recordingObserver } from '../support/recording-observer.ts';

const MAX_STALENESS_MS = 1_000;
/** How often a process leaves a nonce. */
const ROUND_MS = 100;
/** Nonces awaited, and proofs remembered. */
const BOUND = 64;

/** The cache as `Freshness` sees it: a place to leave nonces, and a connection that tells of echoes and losses. */
class TinyCache {
  readonly connection = Object.assign(new EventEmitter(), { isOpen: true, canProve: true });
  readonly nonces: string[] = [];
  refuses = false;

  async leaveNonce(_process: string, nonce: string): Promise<void> {
    this.nonces.push(nonce);
    if (this.refuses) throw new Error('MISCONF');
  }

  echo(...nonces: string[]): void {
    this.connection.emit('message', nonces.join(' '));
  }

  lose(): void {
    this.connection.emit('lost', new Error('ECONNRESET'));
  }
}

/** A clock that stands still until the test moves it. */
class HandClock {
  nowMs = 10_000;
  wallOffsetMs = 1_763_700_000_000;
  monotonicMs = (): number => this.nowMs;
  wallMs = (): number => this.nowMs + this.wallOffsetMs;
}

let cache: TinyCache;
let clock: HandClock;
let observer: RecordingObserver;
let freshness: Freshness;
/** When the first nonce was sent. */
let startMs: number;

beforeEach(() => {
  jest.useFakeTimers();
  cache = new TinyCache();
  clock = new HandClock();
  observer = recordingObserver();
  startMs = clock.nowMs;
  freshness = new Freshness({
    store: cache as unknown as CacheStore,
    clock,
    observer,
    process: 'api-1',
    maxStalenessMs: MAX_STALENESS_MS,
  });
  freshness.start();
});
afterEach(() => {
  freshness.stop();
  jest.useRealTimers();
});

/** Time goes by on all clocks, and whatever nonces are due are sent. */
function pass(ms: number): void {
  for (let leftMs = ms; leftMs > 0; leftMs -= ROUND_MS) {
    clock.nowMs += Math.min(leftMs, ROUND_MS);
    jest.advanceTimersByTime(Math.min(leftMs, ROUND_MS));
  }
}
const at = (ms: number): number => startMs + ms;
const newestNonce = (): string => cache.nonces.at(-1)!;
const isProven = (): boolean => freshness.covers(clock.nowMs);

describe('a proof', () => {
  test('is missing until a nonce comes back', () => {
    expect(cache.nonces).toHaveLength(1);
    expect(freshness.mode()).toBe('GUARDED');
    expect(freshness.proofAgeMs()).toBeNull();
    cache.echo(newestNonce());
    expect(freshness.mode()).toBe('FRESH');
    expect(freshness.proofAgeMs()).toBe(0);
  });

  test('is as old as its nonce, however late the echo', () => {
    const [first] = cache.nonces;
    pass(900);
    cache.echo(first!);
    expect(freshness.proofAgeMs()).toBe(900);
    expect(freshness.covers(at(999))).toBe(true);
    expect(freshness.covers(at(MAX_STALENESS_MS))).toBe(false);
  });

  test('that comes back too old proves nothing', () => {
    const [first] = cache.nonces;
    pass(MAX_STALENESS_MS);
    cache.echo(first!);
    expect(freshness.mode()).toBe('GUARDED');
  });

  test('does not cover a read that was sent before it came', () => {
    pass(40);
    const readSentAtMs = clock.nowMs;
    pass(10);
    cache.echo(cache.nonces[0]!);
    expect(freshness.covers(readSentAtMs)).toBe(false);
    expect(freshness.covers(clock.nowMs)).toBe(true);
  });

  test('judges the reads that were sent while it was the newest, also when a newer one has come', () => {
    const [first] = cache.nonces;
    pass(50);
    cache.echo(first!);
    pass(850);
    const second = newestNonce();
    pass(200);
    cache.echo(second);
    expect(freshness.covers(at(500))).toBe(true);
    // By the proof then in hand this read is 1,050 ms off; by the one that came later it would be 150.
    expect(freshness.covers(at(1_050))).toBe(false);
    expect(freshness.covers(at(1_100))).toBe(true);
  });

  test('is not set back by an older nonce that comes back later, or by the same one again', () => {
    const [first] = cache.nonces;
    pass(600);
    const newer = newestNonce();
    cache.echo(newer);
    const ageMs = freshness.proofAgeMs();
    cache.echo(first!);
    expect(freshness.proofAgeMs()).toBe(ageMs);
    pass(MAX_STALENESS_MS);
    cache.echo(newer);
    expect(isProven()).toBe(false);
  });

  test('comes of an own nonce only, among those of all processes', () => {
    cache.echo('f3b7', 'a-nonce-of-another-process');
    expect(freshness.mode()).toBe('GUARDED');
    cache.echo('f3b7', newestNonce(), '77aa');
    expect(freshness.mode()).toBe('FRESH');
  });

  test('ends by itself when no more echoes come, and is told', () => {
    cache.echo(newestNonce());
    pass(MAX_STALENESS_MS + ROUND_MS);
    expect(freshness.mode()).toBe('GUARDED');
    expect(observer.of('mode.changed').map(({ from, to }) => `${from} ${to}`)).toEqual([
      'GUARDED FRESH',
      'FRESH GUARDED',
    ]);
  });
});

describe('a lost connection', () => {
  test('takes the proof in hand away, and those of entries with it', () => {
    cache.echo(newestNonce());
    const { term } = freshness;
    cache.lose();
    expect(isProven()).toBe(false);
    expect(freshness.proofAgeMs()).toBeNull();
    expect(freshness.term).not.toBe(term);
  });

  test('makes the nonces sent before it worthless: their echo says nothing about the server behind it', () => {
    const before = newestNonce();
    cache.lose();
    cache.echo(before);
    expect(isProven()).toBe(false);
    pass(ROUND_MS);
    cache.echo(newestNonce());
    expect(isProven()).toBe(true);
  });

  test('is BYPASS until it stands again, and no nonce is sent into the void', () => {
    const sent = cache.nonces.length;
    cache.connection.isOpen = false;
    cache.connection.canProve = false;
    cache.lose();
    pass(5 * ROUND_MS);
    expect(freshness.mode()).toBe('BYPASS');
    expect(cache.nonces).toHaveLength(sent);
    cache.connection.isOpen = true;
    expect(freshness.mode()).toBe('GUARDED');
  });

  test('is not the same as a nonce that Redis refuses: the proof in hand lives to its end', async () => {
    cache.echo(newestNonce());
    cache.refuses = true;
    pass(MAX_STALENESS_MS - 1);
    await Promise.resolve();
    expect(isProven()).toBe(true);
    pass(1);
    expect(isProven()).toBe(false);
  });
});

describe('the wall clock', () => {
  test.each([201, -201, 3_600_000])('that jumped by %d ms takes proofs and awaited nonces away', jumpMs => {
    cache.echo(newestNonce());
    pass(ROUND_MS);
    const awaited = newestNonce();
    const { term } = freshness;
    clock.wallOffsetMs += jumpMs;
    expect(isProven()).toBe(false);
    expect(freshness.term).not.toBe(term);
    cache.echo(awaited);
    expect(isProven()).toBe(false);
    pass(ROUND_MS);
    cache.echo(newestNonce());
    expect(isProven()).toBe(true);
  });

  test('discards an echo that is the first thing heard after the jump', () => {
    clock.wallOffsetMs += 60_000;
    cache.echo(newestNonce());
    expect(isProven()).toBe(false);
  });

  test.each([200, -200])('may be set right by %d ms', stepMs => {
    cache.echo(newestNonce());
    clock.wallOffsetMs += stepMs;
    expect(isProven()).toBe(true);
  });
});

describe('memory', () => {
  test(`holds ${BOUND} nonces that nobody answers, and no more`, () => {
    pass((BOUND - 1) * ROUND_MS);
    const [oldest, next] = cache.nonces;
    expect(cache.nonces).toHaveLength(BOUND);
    pass(ROUND_MS);
    cache.echo(oldest!);
    expect(freshness.proofAgeMs()).toBeNull();
    cache.echo(next!);
    expect(freshness.proofAgeMs()).toBe((BOUND - 1) * ROUND_MS);
  });

  test(`holds ${BOUND} proofs: a read sent before the oldest of them is not called proven`, () => {
    cache.echo(newestNonce());
    const readSentAtMs = clock.nowMs;
    for (let round = 1; round < BOUND; round += 1) {
      pass(ROUND_MS);
      cache.echo(newestNonce());
    }
    expect(freshness.covers(readSentAtMs)).toBe(true);
    pass(ROUND_MS);
    cache.echo(newestNonce());
    expect(freshness.covers(readSentAtMs)).toBe(false);
  });

  test('and timers end with stop()', () => {
    freshness.stop();
    const sent = cache.nonces.length;
    pass(10 * ROUND_MS);
    expect(cache.nonces).toHaveLength(sent);
  });
});
