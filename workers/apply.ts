import type pg from 'pg';
import type { CacheStore } from '../shared/cache/store.ts';
import type { Clock } from '../shared/clock.ts';
import { FreshetError } from '../shared/errors.ts';
import type { EventOutcome, Observer } from '../shared/observe.ts';
import { barrierXid, type Probe, probe } from '../shared/origin/probe.ts';
import type { Xid } from '../shared/protocol/xid.ts';
import type { RowTag } from '../shared/resources/keys.ts';
import { BeatTrack } from './beat-track.ts';
import { parkDeadLetter } from './dead-letter.ts';
import type { WatchedTables } from './definitions.ts';
import type { Duty } from './duty.ts';
import type { Feed, FeedItem, FeedPosition, Gap } from './feed/feed.ts';
import { GapError } from './gap-error.ts';
import { Ledger, type Pending, type Settled, type WholeTableCause } from './ledger.ts';
import type { AfterSettled } from './settled.ts';

export interface ApplierOptions {
  readonly store: CacheStore;
  readonly feed: Pick<Feed, 'name' | 'partitions' | 'recordOf' | 'positionOf' | 'acknowledge'>;
  readonly pool: pg.Pool;
  readonly watched: WatchedTables;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Name of this worker, under which it claims what it follows. */
  readonly worker: string;
  readonly afterSettled: AfterSettled;
}

/** What is known of one partition that this worker follows. */
interface Followed {
  readonly ledger: Ledger;
  readonly beats: BeatTrack;
  /** Settled and not remembered yet, with the beats before it. */
  settled: { readonly position: string; readonly beats: string } | null;
  /** Since when another worker has it (monotonic): the feed is about to say so. */
  supersededAtMs: number | null;
}

const REMEMBER_EVERY_MS = 200;
/** How long a feed may take to say that partitions have moved; behind it, it is begun anew. */
const SUPERSEDED_WAIT_MS = 10_000;

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
  readonly #followed = new Map<number, Followed>();
  #duty: Duty;
  #reference: Xid = 0n;
  /** A transaction id that was given out, the highest known. */
  #givenOut: Xid = 0n;
  readonly #parked = new WeakSet<FeedItem>();
  #rememberedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ApplierOptions, duty: Duty) {
    this.#options = options;
    this.#duty = duty;
  }

  /** A recent 64-bit transaction id. */
  get reference(): Xid {
    return this.#reference;
  }

  get hasUnsettled(): boolean {
    return this.#followed.values().some(({ ledger }) => !ledger.isEmpty);
  }

  get unsettled(): number {
    return this.#followed.values().reduce((sum, { ledger }) => sum + ledger.size, 0);
  }

  get partitions(): readonly number[] {
    return [...this.#followed.keys()];
  }

  /** The feed starts again at its last acknowledged positions: what was not settled will be delivered again. */
  resume(positions: ReadonlyMap<number, FeedPosition | null>, duty: Duty): void {
    this.#duty = duty;
    this.#followed.clear();
    for (const [partition, position] of positions) {
      this.#followed.set(partition, {
        ledger: new Ledger(),
        beats: new BeatTrack(position?.beats),
        settled: null,
        supersededAtMs: null,
      });
    }
  }

  /** A new epoch covers what came before. */
  forgive(): void {
    for (const { beats } of this.#followed.values()) beats.forgive();
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
    const ledgers = [...this.#followed.values()].map(({ ledger }) => ledger);
    for (const [partition, part] of byPartition(items)) this.#followed.get(partition)?.ledger.add(part);
    this.#watchBeats(items);
    if (ledgers.every(({ isEmpty }) => isEmpty)) return;

    if (ledgers.some(({ lacksBoundary }) => lacksBoundary)) {
      const boundary = await barrierXid(this.#options.pool);
      for (const ledger of ledgers) ledger.bound(boundary);
    }
    const p = await this.probe();
    await this.#duty.checkIncarnation(p);
    await this.#refuseForged(ledgers, p);
    const { isDefinite, doubted } = await this.#duty.followDefinitions(p);
    for (const ledger of ledgers) ledger.doubt(doubted);

    const applying = ledgers.map(ledger => ledger.toApply(p.snapshot));
    const outcomes = await this.#fence(applying.flat());
    await this.#raise(
      ledgers.flatMap((ledger, i) =>
        applying[i]!.filter(one => one.wholeTable && ledger.isVisible(one, p.snapshot)),
      ),
    );
    const appliedMs = this.#options.clock.wallMs();
    for (const [i, ledger] of ledgers.entries()) {
      for (const one of applying[i]!) {
        one.appliedMs ??= appliedMs;
        if (isDefinite && ledger.isVisible(one, p.snapshot)) one.settled = true;
      }
    }
    await this.#advance(outcomes, p);
  }

  /** A commit that is under way may lie beyond P; an id that nobody was given would hold its partition for ever. */
  async #refuseForged(ledgers: readonly Ledger[], p: Probe): Promise<void> {
    if (p.snapshot.xmax > this.#givenOut) this.#givenOut = p.snapshot.xmax - 1n;
    if (!ledgers.some(ledger => ledger.reachesBeyond(this.#givenOut))) return;
    this.#givenOut = await barrierXid(this.#options.pool);
    for (const ledger of ledgers) ledger.refuseBeyond(this.#givenOut);
  }

  /** @throws GapError, once every beat of the batch is noted. */
  #watchBeats(items: readonly FeedItem[]): void {
    const { partitions } = this.#options.feed;
    let first: Gap | null = null;
    for (const item of items) {
      if (item.kind !== 'beat') continue;
      const gap = this.#followed.get(item.partition)?.beats.receive(item, this.#duty.term.incarnation);
      if (gap && this.#duty.answersFor(gap)) first ??= gap;
      const sentTo = item.beat.partitions ?? partitions;
      if (sentTo > partitions) {
        const detail = `a beat was sent to ${sentTo} partitions, ${partitions} are followed`;
        first ??= { cause: 'partitions-changed', detail };
      }
    }
    if (first) throw new GapError(first);
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
  async #raise(doubtful: readonly Pending[]): Promise<void> {
    const { watched, observer, feed, pool } = this.#options;
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
    await this.#duty.bumpGenerations([...causes.keys()]);
    for (const [table, cause] of causes) observer.emit({ type: 'generation.raised', table, cause });
  }

  async #advance(outcomes: ReadonlyMap<RowTag, EventOutcome>, p: Probe): Promise<void> {
    const settledBeats: SettledBeat[] = [];
    for (const followed of this.#followed.values()) {
      const { position, beats, changes } = followed.ledger.advance();
      this.#report(changes, outcomes);
      for (const { beat } of beats) followed.beats.settle(beat);
      if (followed.supersededAtMs === null) settledBeats.push(...beats);
      if (!position) continue;
      followed.settled = { position: position.position, beats: followed.beats.text() };
      this.#options.observer.emit({
        type: 'feed.position',
        feed: this.#options.feed.name,
        position: position.position,
        newestCommitMs: position.committedMs,
      });
    }
    await this.#remember();
    // What was written in another life of the database than P's proves nothing of this one.
    const alive = settledBeats.filter(({ beat }) => beat.incarnation === p.incarnation);
    if (alive.length > 0) await this.#echo(alive);
  }

  async #echo(beats: readonly SettledBeat[]): Promise<void> {
    const { store, feed, observer, clock } = this.#options;
    if (!(await this.#duty.mayEcho())) return;
    const newest = new Map(beats.map(one => [`${one.partition} ${one.beat.writer}`, one]));
    for (const { partition, beat } of newest.values()) {
      const startMs = clock.monotonicMs();
      // An older beat, of a topic that has grown since: what lay before it lay in the partitions of then.
      await store.echo(beat.writer, partition, beat.number, beat.partitions ?? feed.partitions);
      observer.emit({ type: 'beat.echoed', number: beat.number, durationMs: clock.monotonicMs() - startMs });
    }
  }

  /** Redis first, the source afterwards: a source that is ahead of what is remembered is a gap. */
  async #remember(atOnce = false): Promise<void> {
    const { store, feed, clock, worker } = this.#options;
    const nowMs = clock.monotonicMs();
    if (!atOnce && nowMs - this.#rememberedAtMs < REMEMBER_EVERY_MS) return;
    const moved = [...this.#followed].filter(([, { settled }]) => settled !== null);
    if (moved.length === 0) return;
    this.#rememberedAtMs = nowMs;
    // All at the same time: each is a round trip.
    await Promise.all(
      moved.map(async ([partition, followed]) => {
        const { position, beats } = followed.settled!;
        const { epoch, runId } = this.#duty.term;
        const record = feed.recordOf(partition);
        const remembered = { ...feed.positionOf(partition, position), beats, epoch, run: runId ?? '' };
        followed.settled = null;
        if (await store.positions.remember(record, remembered, worker)) feed.acknowledge(partition, position);
        else this.#notice(followed, record, nowMs);
      }),
    );
  }

  /** Somebody else has taken the partition over: nothing of it is ours to say, and the feed will tell. */
  #notice(followed: Followed, record: string, nowMs: number): void {
    followed.supersededAtMs ??= nowMs;
    if (nowMs - followed.supersededAtMs < SUPERSEDED_WAIT_MS) return;
    throw new FreshetError({
      code: 'superseded',
      message: `another worker follows ${record} now`,
      hint: 'This one stands by.',
      retryable: true,
    });
  }

  /** Before the feed is let go: the last settled positions are not lost. */
  async flush(): Promise<void> {
    await this.#remember(true);
  }

  #report(changes: readonly Pending[], outcomes: ReadonlyMap<RowTag, EventOutcome>): void {
    const { observer, afterSettled, feed, clock } = this.#options;
    const settledMs = clock.wallMs();
    for (const { item, rows, wholeTable, xid, appliedMs } of changes) {
      if (item.kind !== 'change') continue;
      const { change, receivedMs } = item;
      const last = rows.at(-1);
      observer.emit({
        type: 'change.applied',
        feed: feed.name,
        table: change.table,
        op: change.op,
        outcome: last ? (outcomes.get(last.tag) ?? 'applied') : wholeTable ? 'generation' : 'ignored',
        xid: String(xid),
        key: last?.tag ?? null,
        times: { committedMs: change.committedMs, receivedMs, appliedMs: appliedMs ?? settledMs, settledMs },
      });
      for (const { tag, key, gone } of rows) afterSettled({ table: change.table, tag, key, gone, xid: xid! });
    }
  }
}

type SettledBeat = Settled['beats'][number];

/** Most batches are of one partition: those are not copied. */
function byPartition(items: readonly FeedItem[]): Iterable<readonly [number, readonly FeedItem[]]> {
  const first = items[0];
  if (!first) return [];
  if (items.every(({ partition }) => partition === first.partition)) return [[first.partition, items]];
  return Map.groupBy(items, ({ partition }) => partition);
}
