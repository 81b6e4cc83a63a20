import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { CacheStore, Control, TableState } from '../shared/cache/store.ts';
import type { Clock } from '../shared/clock.ts';
import { describe, FreshetError } from '../shared/errors.ts';
import type { Observer } from '../shared/observe.ts';
import { markIncarnation } from '../shared/origin/adopt.ts';
import { isCommitUnderWay, type Probe } from '../shared/origin/probe.ts';
import type { Applier } from './apply.ts';
import type { Barrier } from './barrier.ts';
import type { BeatWriter } from './beat.ts';
import type { WatchedTables } from './definitions.ts';
import type { Feed, FeedPosition, Gap } from './feed/feed.ts';
import { GapError } from './gap-error.ts';
import type { Lead } from './lead.ts';
import type { Member } from './member.ts';

export interface FollowerOptions {
  readonly feed: Feed;
  readonly applier: Applier;
  /** What this worker does where it leads, and where another one does. */
  readonly lead: Lead;
  readonly member: Member;
  readonly barrier: Barrier;
  /** A fresh one for every time the feed is opened. */
  readonly beats: () => BeatWriter;
  readonly store: CacheStore;
  readonly pool: pg.Pool;
  readonly watched: WatchedTables;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Name of this worker among those that stand by for the same database. */
  readonly worker: string;
  readonly signal: AbortSignal;
}

const IDLE_WAIT_MS = 1_000;
/** How soon to look again for a change whose transaction was not visible yet. */
const UNSETTLED_WAIT_MS = 5;
/** Beyond this, nothing more is taken from the feed until the front of the ledger has settled. */
const MOST_UNSETTLED = 50_000;
/** Between becoming visible and telling everybody, a commit takes microseconds. */
const COMMIT_WAIT_MS = 2;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 2_000;
/** How long a round is tried again before the source is let go, for others to follow. */
const PATIENCE_MS = 10_000;

/**
 * Follows a database through a feed, for as long as the process lives: opens it, closes gaps, applies rounds, and
 * begins again when the connection is lost.
 */
export class Follower {
  readonly #options: FollowerOptions;
  #gap: Gap | null = null;
  #trouble: string | null = null;
  #leads = false;
  #onFirstRound: () => void = () => {};
  /** Resolves once a first batch has gone through: what is read then can be proven fresh. */
  readonly following = new Promise<void>(resolve => {
    this.#onFirstRound = resolve;
  });

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Why nothing is proven now; null when the feed is followed without a gap. */
  get gap(): Gap | null {
    return this.#gap;
  }

  /** What went wrong last, while it does; null when rounds go through. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** Resolves when the signal aborts, with the last settled position acknowledged. */
  async run(): Promise<void> {
    const { feed, observer, signal } = this.#options;
    for (let retryMs = FIRST_RETRY_MS; !signal.aborted; retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS)) {
      try {
        await this.#follow(() => {
          retryMs = FIRST_RETRY_MS;
        });
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof GapError) this.#gap = error.gap;
        // Partitions came or went: what is ours now is taken over at once, by a feed that never let go.
        if (isMove(error)) continue;
        this.#trouble = describe(error);
        observer.emit({ type: 'feed.lost', feed: feed.name, error, retryInMs: retryMs });
        // A database that shuts down waits for its consumers, and nobody is going to answer it now.
        await feed.close();
        await delay(retryMs, undefined, { signal }).catch(() => {});
      }
    }
    await this.#options.applier
      .flush()
      .catch(error => observer.emit({ type: 'feed.lost', feed: feed.name, error, retryInMs: 0 }));
    await feed.close();
  }

  async #follow(onProgress: () => void): Promise<void> {
    const { feed, applier, store, lead, member, signal } = this.#options;
    // The stream's ids are widened by what the primary says now, so it is asked before anything streams.
    await applier.probe();
    const { positions, gap, leads } = await feed.open({
      remembered: partition => store.positions.take(feed.recordOf(partition), this.#options.worker),
      doubt: () => this.#doubt(),
    });
    this.#leads = leads;
    if (leads) await store.claim(this.#options.worker);
    applier.resume(positions, leads ? lead : member);
    this.#gap = gap ?? this.#gap;
    if (leads) this.#gap ??= await this.#takeUpControl(positions.get(0) ?? null);
    else await member.begin(await this.#probeDefinitions());
    await this.#closeGaps();
    const beats = leads ? this.#options.beats() : null;
    beats?.start();
    try {
      while (!signal.aborted) {
        await this.#round(onProgress);
      }
    } finally {
      await beats?.stop();
    }
  }

  /**
   * One batch through the applier. While Redis is away it is the same batch again, nothing is skipped; when the
   * database is, the feed is opened again and delivers again.
   */
  async #round(onProgress: () => void): Promise<void> {
    const { feed, applier, signal, observer } = this.#options;
    const full = applier.unsettled >= MOST_UNSETTLED;
    if (full) feed.check();
    const items = full ? [] : await feed.next(applier.hasUnsettled ? UNSETTLED_WAIT_MS : IDLE_WAIT_MS);
    if (full) await delay(UNSETTLED_WAIT_MS, undefined, { signal });
    let batch = items;
    const startMs = performance.now();
    for (let retryMs = FIRST_RETRY_MS; !signal.aborted; retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS)) {
      try {
        if (this.#gap) await this.#closeGap(this.#gap);
        await applier.take(batch);
        onProgress();
        this.#trouble = null;
        this.#onFirstRound();
        return;
      } catch (error) {
        batch = [];
        if (error instanceof GapError) this.#gap = error.gap;
        // Whoever can reach the cache may have what this worker follows: nobody is proven anything meanwhile.
        else if (!passes(error) || performance.now() - startMs > PATIENCE_MS) throw error;
        else {
          this.#trouble = describe(error);
          observer.emit({ type: 'feed.lost', feed: feed.name, error, retryInMs: retryMs });
          await delay(retryMs, undefined, { signal });
        }
      }
    }
  }

  /** What is cached is not to be proven any more, whatever becomes of this worker. An epoch still open is doubt enough. */
  async #doubt(): Promise<void> {
    const { store, worker } = this.#options;
    await store.claim(worker);
    if ((await store.standing())?.isClosed !== false) await store.newEpoch(null, []);
  }

  /** Goes on under the epoch that stands, if `control` is complete. Tables that are new get their generation. */
  async #takeUpControl(position: FeedPosition | null): Promise<Gap | null> {
    const { store, lead } = this.#options;
    const control = await store.control();
    if (control === null || control.incarnation === '') {
      return { cause: 'control-missing', detail: 'the cache holds no epoch with an incarnation' };
    }
    if (position?.epoch !== control.epoch || !control.isClosed) {
      return {
        cause: position?.run === store.connection.runId ? 'ordered' : 'redis-replaced',
        detail: `the epoch is ${control.epoch}, changes were applied under ${position?.epoch}`,
      };
    }
    const p = await this.#probeDefinitions();
    if (!(await store.raiseGenerations(control.epoch, this.#unwatched(control), this.#options.worker))) {
      return { cause: 'control-missing', detail: 'the epoch was replaced while the feed was taken over' };
    }
    const digests = new Map([...control.tables.values()].map(({ table, digest }) => [table, digest]));
    lead.begin(control.epoch, control.incarnation, digests);
    const fresh = [...this.#options.watched.tables().keys()].filter(table => !control.tables.has(table));
    await lead.definitions.hold(fresh, p, 'first-start');
    return null;
  }

  /**
   * P, and after it the definitions: what is known of them is never older than the digests that stand for them. No
   * transaction that P sees is still keeping its change from the other sessions.
   */
  async #probeDefinitions(): Promise<Probe> {
    const { applier, watched, pool, signal } = this.#options;
    let p = await applier.probe();
    while (await isCommitUnderWay(pool)) {
      await delay(COMMIT_WAIT_MS, undefined, { signal });
      p = await applier.probe();
    }
    await watched.refresh();
    return p;
  }

  /** Tables that another configuration served: nobody follows them now, so nobody may cache them. */
  #unwatched(control: Control | null): TableState[] {
    const watched = this.#options.watched.tables();
    return [...(control?.tables.values() ?? [])]
      .filter(({ table, digest }) => digest !== null && !watched.has(table))
      .map(({ table }) => ({ table, generation: randomUUID(), digest: null }));
  }

  /** Closes the gap at hand, and what shows while it is being closed. */
  async #closeGaps(): Promise<void> {
    while (this.#gap && !this.#options.signal.aborted) {
      try {
        await this.#closeGap(this.#gap);
      } catch (error) {
        if (!(error instanceof GapError)) throw error;
        this.#gap = error.gap;
      }
    }
  }

  async #closeGap(gap: Gap): Promise<void> {
    const { store, feed, applier, observer, worker } = this.#options;
    observer.emit({ type: 'gap.opened', ...gap });
    for (const partition of applier.partitions)
      await store.positions.forget(feed.recordOf(partition), worker);
    if (this.#leads) await this.#passBarrier(gap);
    // Whoever leads finds an epoch that it has not made, and closes the gap that this is.
    else await store.newEpoch(null, []);
    applier.forgive();
    this.#gap = null;
  }

  /**
   * A new epoch at once, a barrier, and a new epoch again: a transaction whose change was lost may have had its
   * commit record out and still been invisible when the first epoch began. Nothing is echoed before the second.
   */
  async #passBarrier(gap: Gap): Promise<void> {
    const { store, lead, barrier, pool, watched, clock, observer, worker } = this.#options;
    const startMs = clock.monotonicMs();
    const incarnation = await markIncarnation(pool);

    const first = await this.#tablesNow(incarnation);
    const opened = await store.newEpoch(incarnation, first.states);
    await barrier.pass();
    lead.definitions.release();
    const { p, states } = await this.#tablesNow(incarnation);
    const epoch = await store.closeEpoch(opened, incarnation, states, worker);
    if (epoch === null) {
      await this.#checkLeads();
      throw new GapError({
        cause: 'ordered',
        detail: 'another epoch was ordered while a gap was being closed',
      });
    }

    lead.begin(epoch, incarnation, p.digests);
    // What was altered while the barrier waited has a barrier of its own to wait for.
    const altered = [...watched.tables().keys()].filter(
      table => p.digests.get(table) !== first.p.digests.get(table),
    );
    await lead.definitions.hold(altered, p, 'definition');
    observer.emit({ type: 'gap.closed', cause: gap.cause, durationMs: clock.monotonicMs() - startMs, epoch });
  }

  /** @throws FreshetError `superseded` where another worker leads by now. */
  async #checkLeads(): Promise<void> {
    const { store, worker } = this.#options;
    const control = await store.control();
    if (control === null || control.worker === null || control.worker === worker) return;
    throw new FreshetError({
      code: 'superseded',
      message: `worker ${control.worker} follows the database now`,
      hint: 'This one stands by.',
      retryable: true,
    });
  }

  /** P, and a new generation of every table under it. */
  async #tablesNow(incarnation: string): Promise<{ p: Probe; states: TableState[] }> {
    const { store, lead, watched, worker } = this.#options;
    const p = await this.#probeDefinitions();
    if (p.incarnation !== incarnation) {
      throw new GapError({
        cause: 'other-incarnation',
        detail: 'the database was recovered while a gap was being closed',
      });
    }
    await store.claimIfFree(worker);
    const states = [
      ...[...watched.tables().keys()].map(table => lead.definitions.stateOf(table, p)),
      ...this.#unwatched(await store.control()),
    ];
    return { p, states };
  }
}

const PASSING = ['cache-unavailable', 'cache-replaced', 'gap-open'];

/** The same round may be tried again, with what was received. */
const passes = (error: unknown): boolean => error instanceof FreshetError && PASSING.includes(error.code);

const isMove = (error: unknown): boolean => error instanceof FreshetError && error.code === 'feed-moved';
