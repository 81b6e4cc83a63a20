import type pg from 'pg';
import type { CacheStore } from '../shared/cache/store.ts';
import type { Clock } from '../shared/clock.ts';
import { FreshetError } from '../shared/errors.ts';
import type { EventOutcome, Observer } from '../shared/observe.ts';
import { barrierXid, type Probe, probe } from '../shared/origin/probe.ts';
import type { Xid } from '../shared/protocol/xid.ts';
import type { RowTag } from '../shared/resources/keys.ts';
import { parkDeadLetter } from './dead-letter.ts';
import { Definitions, type WatchedTables } from './definitions.ts';
import type { Beat, Feed, FeedItem, FeedPosition } from './feed/feed.ts';
import { GapError } from './gap-error.ts';
import { Ledger, type Pending, type WholeTableCause } from './ledger.ts';
import type { AfterSettled } from './settled.ts';

export interface ApplierOptions {
  readonly store: CacheStore;
  readonly feed: Pick<Feed, 'name' | 'partitions' | 'positionOf' | 'acknowledge'>;
  readonly pool: pg.Pool;
  readonly watched: WatchedTables;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Name of this worker, under which it claimed the database. */
  readonly worker: string;
  readonly afterSettled: AfterSettled;
}

/** Under which epoch and definitions the applier works: what the last closed gap, or `control`, says. */
export interface Term {
  readonly epoch: string;
  readonly incarnation: string;
  readonly digests: ReadonlyMap<string, string | null>;
}

const REMEMBER_EVERY_MS = 200;

/**
 * Applies what a feed brings, in rounds:
 *
 *   receive a batch ─▶ P to the primary ─▶ definitions ─▶ EVENTs ─▶ settle what P sees ─▶ position, echo
 *
 * Replays, duplicates and reordering only add fences. The order of these steps is the protocol: a P sent before
 * the last message of the batch had come settles nothing, and a P looked at after the events would call settled
 * what an old read may still fill.
 */
export class Applier {
  readonly #options: ApplierOptions;
  readonly #ledger = new Ledger();
  /** What the served tables look like, and which of them may be cached. */
  readonly definitions: Definitions;
  #term: Term = { epoch: '', incarnation: '', digests: new Map() };
  /** Of the cache Redis in which the term began. */
  #runId: string | null = null;
  /** Writer → number of its last beat received. */
  readonly #beats = new Map<string, number>();
  /** Beats of before the gap may be delivered again, and where their numbers begin is not known any more. */
  #afterGap = false;
  #reference: Xid = 0n;
  #settled: { position: string; lastBeat: Beat | null } | null = null;
  #lastBeat: Beat | null = null;
  readonly #parked = new WeakSet<FeedItem>();
  #rememberedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ApplierOptions) {
    this.#options = options;
    const { store, pool, watched, observer, worker } = options;
    this.definitions = new Definitions({
      store,
      pool,
      watched,
      observer,
      worker,
      otherEpoch: () => this.#otherEpoch(),
    });
  }

  /** A recent 64-bit transaction id. */
  get reference(): Xid {
    return this.#reference;
  }

  get hasUnsettled(): boolean {
    return !this.#ledger.isEmpty;
  }

  get unsettled(): number {
    return this.#ledger.size;
  }

  /** The feed starts again at its last acknowledged position: what was not settled will be delivered again. */
  resume(position: FeedPosition | null): void {
    this.#ledger.clear();
    this.#beats.clear();
    this.#settled = null;
    if (position?.beatWriter !== undefined)
      this.#beats.set(`0 ${position.beatWriter}`, Number(position.beatNumber));
  }

  /** Works under `term` from now on. `afterGap`: what came before is covered by its epoch. */
  begin(term: Term, afterGap: boolean): void {
    this.#term = term;
    this.definitions.begin(term.epoch, term.digests);
    this.#runId = this.#options.store.connection.runId;
    if (!afterGap) return;
    this.#beats.clear();
    this.#afterGap = true;
  }

  async probe(): Promise<Probe> {
    const p = await probe(this.#options.pool, [...this.#options.watched.tables().values()]);
    this.#reference = p.snapshot.xmax;
    return p;
  }

  /**
   * One round. Everything in `items` was received before it was called.
   * @throws GapError; FreshetError (retryable): the same round may be repeated with `take([])`.
   */
  async take(items: readonly FeedItem[]): Promise<void> {
    this.#ledger.add(items);
    this.#watchBeats(items);
    if (this.#ledger.isEmpty) return;

    if (this.#ledger.lacksBoundary) this.#ledger.bound(await barrierXid(this.#options.pool));
    const p = await this.probe();
    if (p.incarnation !== this.#term.incarnation) {
      throw new GapError({
        cause: 'other-incarnation',
        detail: `the database is ${p.incarnation ?? 'without its marker'}, changes were followed in ${this.#term.incarnation}`,
      });
    }
    const definite = await this.definitions.follow(p);

    const applying = this.#ledger.toApply(p.snapshot);
    const outcomes = await this.#fence(applying);
    await this.#raise(
      applying.filter(one => one.wholeTable && this.#ledger.isVisible(one, p.snapshot)),
      p,
    );
    const appliedMs = this.#options.clock.wallMs();
    for (const one of applying) {
      one.appliedMs ??= appliedMs;
      if (definite && this.#ledger.isVisible(one, p.snapshot)) one.settled = true;
    }
    await this.#advance(outcomes);
  }

  /** Numbers run without a hole, from 1 for each writer; a hole is a stretch of the log that never came. */
  #watchBeats(items: readonly FeedItem[]): void {
    for (const item of items) {
      if (item.kind !== 'beat') continue;
      const { writer, number, incarnation } = item.beat;
      const name = `${item.partition} ${writer}`;
      const last = this.#beats.get(name) ?? 0;
      this.#beats.set(name, Math.max(last, number));
      // Of writers before the one that is remembered, only the end may be delivered again.
      if (item.again) continue;
      const isFirst = last === 0 && this.#afterGap;
      if (number > last + 1 && !isFirst) {
        throw new GapError({
          cause: 'beat-missing',
          detail: `beat ${number} of writer ${writer} came after ${last}`,
        });
      }
      // Behind the first beat of this life of the database, whatever is delivered again has been delivered.
      if (incarnation === this.#term.incarnation) this.#afterGap = false;
      else if (!this.#afterGap) {
        throw new GapError({
          cause: 'other-incarnation',
          detail: `a beat was written in ${incarnation ?? 'a database without its marker'}, changes were followed in ${this.#term.incarnation}`,
        });
      }
    }
  }

  /** EVENT for every row, once each with all its transactions. */
  async #fence(applying: readonly Pending[]): Promise<ReadonlyMap<RowTag, EventOutcome>> {
    const xids = new Map<RowTag, Set<Xid>>();
    for (const { rows, xid } of applying) {
      for (const { tag } of rows) {
        const known = xids.get(tag);
        if (known) known.add(xid!);
        else xids.set(tag, new Set([xid!]));
      }
    }
    const events = [...xids].map(([tag, set]) => ({ tag, xids: [...set] }));
    const outcomes = await this.#options.store.events(events);
    return new Map(events.map(({ tag }, i) => [tag, outcomes[i]!]));
  }

  /** Whole tables in doubt: dead letters first, so that nothing moves on before they are safe. */
  async #raise(doubtful: readonly Pending[], p: Probe): Promise<void> {
    const { watched, store, observer, feed, pool, worker } = this.#options;
    if (doubtful.length === 0) return;
    for (const { item } of doubtful) {
      if (item.kind !== 'unreadable' || this.#parked.has(item)) continue;
      observer.emit({ type: 'change.unreadable', feed: feed.name, table: item.table, error: item.error });
      await parkDeadLetter(pool, feed.name, item);
      this.#parked.add(item);
    }
    const causes = new Map<string, WholeTableCause>();
    for (const { wholeTable } of doubtful) {
      const { table, cause } = wholeTable!;
      for (const name of table === null ? watched.tables().keys() : [table]) causes.set(name, cause);
    }
    const states = [...causes.keys()].map(table => this.definitions.stateOf(table, p));
    if (!(await store.raiseGenerations(this.#term.epoch, states, worker))) throw await this.#otherEpoch();
    for (const [table, cause] of causes) observer.emit({ type: 'generation.raised', table, cause });
  }

  async #advance(outcomes: ReadonlyMap<RowTag, EventOutcome>): Promise<void> {
    const { position, beats, changes } = this.#ledger.advance();
    this.#report(changes, outcomes);
    for (const { beat } of beats) this.#lastBeat = beat;
    if (position) {
      this.#settled = { position: position.position, lastBeat: this.#lastBeat };
      this.#options.observer.emit({
        type: 'feed.position',
        feed: this.#options.feed.name,
        position: position.position,
        newestCommitMs: position.committedMs,
      });
      await this.#remember();
    }
    if (beats.length > 0) await this.#echo(beats);
  }

  async #echo(beats: readonly { partition: number; beat: Beat }[]): Promise<void> {
    const { store, feed, observer, clock } = this.#options;
    // A lost or replaced control record: nothing cached under the old one may be called fresh.
    if ((await store.epoch()) !== this.#term.epoch) throw await this.#otherEpoch();
    const newest = new Map(beats.map(one => [`${one.partition} ${one.beat.writer}`, one]));
    for (const { partition, beat } of newest.values()) {
      const startMs = clock.monotonicMs();
      await store.echo(beat.writer, partition, beat.number, feed.partitions);
      observer.emit({ type: 'beat.echoed', number: beat.number, durationMs: clock.monotonicMs() - startMs });
    }
  }

  /** Redis first, the source afterwards: a source that is ahead of what is remembered is a gap. */
  async #remember(atOnce = false): Promise<void> {
    const { store, feed, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (!this.#settled || (!atOnce && nowMs - this.#rememberedAtMs < REMEMBER_EVERY_MS)) return;
    this.#rememberedAtMs = nowMs;
    const { position, lastBeat } = this.#settled;
    const beat = lastBeat ? { beatWriter: lastBeat.writer, beatNumber: String(lastBeat.number) } : {};
    await store.rememberFeedPosition(feed.name, {
      ...feed.positionOf(position),
      ...beat,
      epoch: this.#term.epoch,
      run: this.#runId ?? '',
    });
    feed.acknowledge(position);
    this.#settled = null;
  }

  /** Before the feed is let go: the last settled position is not lost. */
  async flush(): Promise<void> {
    await this.#remember(true);
  }

  #report(changes: readonly Pending[], outcomes: ReadonlyMap<RowTag, EventOutcome>): void {
    const { observer, afterSettled, feed, clock } = this.#options;
    const settledMs = clock.wallMs();
    for (const { item, rows, wholeTable, appliedMs } of changes) {
      if (item.kind !== 'change') continue;
      const { change, receivedMs } = item;
      const last = rows.at(-1);
      observer.emit({
        type: 'change.applied',
        feed: feed.name,
        table: change.table,
        op: change.op,
        outcome: last ? (outcomes.get(last.tag) ?? 'applied') : wholeTable ? 'generation' : 'ignored',
        xid: String(change.xid),
        key: last?.tag ?? null,
        times: { committedMs: change.committedMs, receivedMs, appliedMs: appliedMs ?? settledMs, settledMs },
      });
      for (const { tag, key, gone } of rows)
        afterSettled({ table: change.table, tag, key, gone, xid: change.xid });
    }
  }

  /** Why `control` does not hold this term's epoch any more. */
  async #otherEpoch(): Promise<Error> {
    const { store, worker } = this.#options;
    const control = await store.control();
    if (control?.epoch === this.#term.epoch && control.worker !== worker) {
      return new FreshetError({
        code: 'superseded',
        message: `worker ${control.worker} follows the database now`,
        hint: 'This one stands by.',
        retryable: true,
      });
    }
    const was = `changes were applied under epoch ${this.#term.epoch}`;
    if (store.connection.runId !== this.#runId) {
      return new GapError({
        cause: 'redis-replaced',
        detail: `${was}, in another run of the cache Redis`,
      });
    }
    if (control === null || control.incarnation === '') {
      return new GapError({ cause: 'control-missing', detail: `${was}, the cache holds no such record` });
    }
    return new GapError({ cause: 'ordered', detail: `${was}, epoch ${control.epoch} was ordered` });
  }
}
