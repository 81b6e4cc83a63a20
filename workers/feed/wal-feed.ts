import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { FreshetError } from '../../shared/errors.ts';
import type { Observer } from '../../shared/observe.ts';
import { identifySystem } from '../../shared/origin/adopt.ts';
import { unreadableBecause } from '../../shared/origin/unreadable-slot.ts';
import type { Xid } from '../../shared/protocol/xid.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { BEAT_PREFIX } from './beat-message.ts';
import type { Feed, FeedItem, FeedPosition, Gap, Memory, Taken } from './feed.ts';
import { parseLsn } from './lsn.ts';
import { ReplicationStream } from './replication-stream.ts';
import { createSlot, dropSlot, readSlot } from './slot.ts';
import { WalChanges } from './wal-changes.ts';

export interface WalFeedOptions {
  readonly url: string;
  readonly slot: string;
  /** Of this installation: the beats of others are not ours. */
  readonly namespace: string;
  /** For questions about slots and system; not the stream's own connection. */
  readonly pool: pg.Pool;
  readonly tables: () => ReadonlyMap<string, TableShape>;
  readonly reference: () => Xid;
  /** Called just before a stream starts: a standby may have waited for weeks, and `reference` with it. */
  readonly beforeStream: () => Promise<unknown>;
  readonly observer: Observer;
  /** Runs `work` while watching which transactions it has to wait for. */
  readonly whileBlocked: <T>(work: () => Promise<T>) => Promise<T>;
  readonly signal: AbortSignal;
}

/** A message of the stream, or how far the server says that it has sent. */
type Received = { readonly payload: Buffer; readonly lsn: bigint } | { readonly upTo: bigint };

/** Messages kept while the consumer is busy: beyond the first the socket is paused, below the second it goes on. */
const PAUSE_ABOVE = 20_000;
const RESUME_BELOW = 5_000;
const BATCH = 5_000;
const FIRST_STANDBY_MS = 100;
const LONGEST_STANDBY_MS = 2_000;
const SLOT_IN_USE = '55006';
const UNDEFINED_OBJECT = '42704';

/** Straight from the write-ahead log: a replication slot of its own, one active consumer, no broker. */
export class WalFeed implements Feed {
  readonly name = 'wal';
  readonly partitions = 1;
  readonly beatPrefixes = [`${BEAT_PREFIX}0`];
  readonly #options: WalFeedOptions;
  #stream: ReplicationStream | null = null;
  #received: Received[] = [];
  #changes: WalChanges | null = null;
  #paused = false;
  #failure: FreshetError | null = null;
  #wake: (() => void) | null = null;
  #system = { id: '', timeline: 0, writtenUpTo: '0/0' };
  #settledBefore = 0n;

  constructor(options: WalFeedOptions) {
    this.#options = options;
  }

  recordOf(): string {
    return this.name;
  }

  async open({ remembered }: Pick<Memory, 'remembered'>): Promise<Taken> {
    await this.close();
    const created = await this.#takeOver();
    this.#system = await identifySystem(this.#options.pool);
    const slot = await readSlot(this.#options.pool, this.#options.slot);
    const position = await remembered(0);
    this.#options.observer.emit({
      type: 'feed.connected',
      feed: this.name,
      position: slot?.confirmedLsn ?? 'none',
    });
    const gap = this.#judge(created, slot?.confirmedLsn ?? null, position);
    if (gap === null && position?.lsn !== undefined) this.#settledBefore = parseLsn(position.lsn);
    return { leads: true, positions: new Map([[0, gap ? null : position]]), gap };
  }

  /** Holds the slot when it resolves; returns why the slot had to be made anew, if it had to. */
  async #takeOver(): Promise<Gap | null> {
    const { pool, slot, observer, signal } = this.#options;
    let made: Gap | null = null;
    for (let waitMs = FIRST_STANDBY_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_STANDBY_MS)) {
      signal.throwIfAborted();
      const state = await readSlot(pool, slot);
      if (state?.activePid == null) {
        made = (await this.#ensureSlot(state)) ?? made;
        if (await this.#startStream()) return made;
      }
      // Somebody else consumes: stand by, take over when they are gone.
      observer.emit({ type: 'feed.standby', feed: this.name, holder: state?.activePid ?? null });
      await delay(waitMs, undefined, { signal });
    }
  }

  async #ensureSlot(state: Awaited<ReturnType<typeof readSlot>>): Promise<Gap | null> {
    const { pool, slot, whileBlocked } = this.#options;
    const lost = state && (state.lostBecause ?? (await this.#stuckBecause()));
    if (state && lost === null) return null;
    if (state) await dropSlot(pool, slot);
    await whileBlocked(() => createSlot(pool, slot));
    return state
      ? { cause: 'slot-lost', detail: `slot ${slot} can give nothing any more: ${lost}` }
      : { cause: 'slot-missing', detail: `there was no slot ${slot}` };
  }

  /** Why the stream that ended last would end there again; null where nothing is known against it. */
  async #stuckBecause(): Promise<string | null> {
    const { pool, slot } = this.#options;
    if ((this.#failure?.cause as { code?: string } | undefined)?.code !== UNDEFINED_OBJECT) return null;
    return unreadableBecause((sql, params = []) => pool.query(sql, params), slot);
  }

  /** False when somebody else got the slot first. */
  async #startStream(): Promise<boolean> {
    await this.#options.beforeStream();
    this.#changes = new WalChanges({
      tables: this.#options.tables,
      reference: this.#options.reference,
      settledBefore: () => this.#settledBefore,
      namespace: this.#options.namespace,
      now: () => Date.now(),
    });
    this.#received = [];
    this.#settledBefore = 0n;
    this.#failure = null;
    this.#paused = false;
    const stream = new ReplicationStream({
      url: this.#options.url,
      slot: this.#options.slot,
      publication: 'freshet',
      onMessage: (payload, lsn) => this.#receive({ payload, lsn }),
      onQuestion: sentUpTo => this.#receive({ upTo: sentUpTo }),
      onEnd: error => {
        this.#failure ??= error;
        this.#wake?.();
      },
    });
    try {
      await stream.start();
    } catch (error) {
      await stream.close();
      if ((error as { code?: string }).code === SLOT_IN_USE) return false;
      throw error;
    }
    this.#stream = stream;
    return true;
  }

  /** Whether what is remembered and what the source says can be one history. */
  #judge(made: Gap | null, confirmed: string | null, remembered: FeedPosition | null): Gap | null {
    if (made && !remembered)
      return { ...made, cause: made.cause === 'slot-missing' ? 'first-start' : made.cause };
    if (made) return made;
    if (!remembered)
      return { cause: 'position-unknown', detail: 'nothing is remembered of how far changes were applied' };
    const { system, timeline, lsn, slot } = remembered;
    if (system !== this.#system.id) {
      return { cause: 'other-system', detail: `database system ${this.#system.id}, remembered ${system}` };
    }
    if (timeline !== String(this.#system.timeline)) {
      return { cause: 'other-timeline', detail: `timeline ${this.#system.timeline}, remembered ${timeline}` };
    }
    if (lsn !== undefined && parseLsn(lsn) > parseLsn(this.#system.writtenUpTo)) {
      return {
        cause: 'other-timeline',
        detail: `the log ends at ${this.#system.writtenUpTo}, changes were applied up to ${lsn}: an older copy was put back`,
      };
    }
    if (slot !== this.#options.slot || lsn === undefined) {
      return { cause: 'position-unknown', detail: `the position remembered is that of slot ${slot}` };
    }
    if (confirmed === null || parseLsn(confirmed) > parseLsn(lsn)) {
      return {
        cause: 'slot-ahead',
        detail: `slot ${slot} stands at ${confirmed}, changes are applied up to ${lsn}`,
      };
    }
    return null;
  }

  #receive(received: Received): void {
    this.#received.push(received);
    if (!this.#paused && this.#received.length > PAUSE_ABOVE) {
      this.#paused = true;
      this.#stream?.pause();
    }
    this.#wake?.();
  }

  async next(waitMs: number): Promise<FeedItem[]> {
    const untilMs = performance.now() + waitMs;
    for (;;) {
      const leftMs = untilMs - performance.now();
      if (this.#received.length === 0 && !this.#failure && leftMs > 0) await this.#arrival(leftMs);
      if (this.#failure) throw this.#failure;
      const items = this.#decode();
      if (items.length > 0 || performance.now() >= untilMs) return items;
    }
  }

  /** As late as can be: by the definitions that the round before has found. */
  #decode(): FeedItem[] {
    const changes = this.#changes;
    const items: FeedItem[] = [];
    for (const received of changes ? this.#received.splice(0, BATCH) : []) {
      const read =
        'upTo' in received ? changes!.upTo(received.upTo) : changes!.read(received.payload, received.lsn);
      for (const item of read) items.push(item);
    }
    if (this.#paused && this.#received.length < RESUME_BELOW) {
      this.#paused = false;
      this.#stream?.resume();
    }
    return items;
  }

  #arrival(waitMs: number): Promise<void> {
    return new Promise(resolve => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.#wake = done;
    });
  }

  check(): void {
    if (this.#failure) throw this.#failure;
  }

  positionOf(_partition: number, settled: string): FeedPosition {
    const { id, timeline } = this.#system;
    return { slot: this.#options.slot, system: id, timeline: String(timeline), lsn: settled };
  }

  acknowledge(_partition: number, settled: string): void {
    this.#stream?.acknowledge(parseLsn(settled));
  }

  async close(): Promise<void> {
    const stream = this.#stream;
    this.#stream = null;
    this.#received = [];
    await stream?.close();
  }
}
