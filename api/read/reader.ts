import { setTimeout as delay } from 'node:timers/promises';
import type { LimitFunction } from 'p-limit';
import type { CacheStore, RowRead } from '../../shared/cache/store.ts';
import type { Clock } from '../../shared/clock.ts';
import { FreshetError } from '../../shared/errors.ts';
import { type Filled, type Filler, type Loaded, slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import type { Mode, ReadResult } from '../../shared/observe.ts';
import { type Entry, isServable, type Slot } from '../../shared/protocol/entry.ts';
import type { RowTag } from '../../shared/resources/keys.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { RowAnswer } from '../ports.ts';
import type { Freshness } from './freshness.ts';
import { type Guard, overloaded } from './guard.ts';

export interface ReaderOptions {
  readonly store: CacheStore;
  readonly filler: Filler;
  readonly freshness: Freshness;
  readonly guard: Guard;
  readonly clock: Clock;
  /** Bounds the reading statements of requests under way. */
  readonly limit: LimitFunction;
  /** Requests that may wait for a reading statement before further ones are refused. */
  readonly mostWaiting: number;
  /** Front of a token: `v1.<system>.<timeline>.`. */
  readonly tokenPrefix: string;
  /** Reads the resources again: a definition no longer fits, or may not. */
  readonly refreshCatalog: () => Promise<unknown>;
  /** The resource of that name as it is after a refresh. */
  readonly currentResource: (name: string) => Resource | undefined;
  /** Told of every row that was read: what is popular. */
  readonly onRead?: (resource: string, tag: RowTag) => void;
  /** How long a reader waits for another process to fill before it asks the database itself. */
  readonly leaseWaitMs?: number;
}

/** A reading under way in this process. Only who asked before its statement was sent may share the result. */
interface Flight {
  result: Promise<Filled>;
  sent: boolean;
}

/** For who asked after the statement was sent. */
const LOOK_AGAIN: Filled = { kind: 'wait', forMs: 0 };

const LEASE_WAIT_MS = 1_000;
const FIRST_POLL_MS = 2;
const LONGEST_POLL_MS = 25;
/** Rounds of "look, it is gone again" for one busy row before the database is asked past the cache. */
const MOST_ROUNDS = 4;

/**
 * Reads a row: from the cache where it is proven fresh, otherwise through a lease from the database.
 *
 *   HMGET ─▶ servable? ─▶ FRESH ─────────────────────────────▶ hit
 *     │          │        GUARDED ─▶ same row in Postgres? ──▶ guarded
 *     │          └─▶ no                        └─▶ no ─┐
 *     │              └────────────▶ lease ─▶ statement ─▶ fill ─▶ miss
 *     └─ Redis unusable ─▶ statement ────────────────────────────▶ bypass
 */
export class Reader {
  readonly #options: ReaderOptions;
  readonly #flights = new Map<string, Flight>();
  /** Table → digest last seen in `control`. */
  readonly #digests = new Map<string, string | null>();

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** @throws FreshetError `overloaded`, or why the database could not be read (retryable when passing). */
  async read(resource: Resource, key: readonly string[], { demandProof = false } = {}): Promise<RowAnswer> {
    try {
      const slot = slotOfRow(resource, key);
      const answer = await this.#read(resource, key, slot, demandProof);
      // A flood of ids that nobody has must not pass for what is popular.
      if (answer.found) this.#options.onRead?.(resource.name, slot.tag);
      return answer;
    } catch (error) {
      if (!(error instanceof FreshetError) || error.code !== 'definition-changed') throw error;
      await this.#options.refreshCatalog();
      const current = this.#options.currentResource(resource.name);
      if (!current) throw error;
      // The lease of the failed reading is left to expire: this one answer goes past the cache.
      return this.#answerLoaded(await this.#load(current, key), 'miss', false, 'definition-changed');
    }
  }

  async #read(
    resource: Resource,
    key: readonly string[],
    slot: Slot,
    demandProof: boolean,
  ): Promise<RowAnswer> {
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const read = await this.#lookUp(slot);
      if (read === null) return this.#bypass(resource, key, slot);
      if (read.control && read.control.digest !== this.#digests.get(slot.table)) {
        await this.#learnDefinition(resource, read.control.digest);
      }

      let judged: string | null = null;
      if (
        read.entry &&
        read.control &&
        isServable(read.entry.meta, read.control, this.#options.clock.wallMs())
      ) {
        const result = await this.#prove(resource, key, read.entry, read.sentAtMs, demandProof);
        if (result !== null) return this.#answerEntry(read.entry, result);
        judged = read.entry.meta.fillId;
      } else if (read.entry) {
        judged = read.entry.meta.fillId;
      }

      const { filled, shared } = await this.#fly(resource, key, slot, read, judged);
      if (filled.kind === 'loaded') {
        const detail = filled.stored === 'stored' ? null : filled.stored;
        return this.#answerLoaded(
          filled.loaded,
          shared ? 'collapsed' : 'miss',
          filled.stored === 'stored',
          detail,
          read.entry !== null,
        );
      }
    }
    return this.#answerLoaded(await this.#load(resource, key), 'miss', false, 'busy');
  }

  /**
   * The definition may not be the one this process knows: it is read before anything is answered under its stamp.
   * At first sight too, since it may have changed between the start of the process and its first read.
   */
  async #learnDefinition({ name, table }: Resource, digest: string | null): Promise<void> {
    await this.#options.refreshCatalog();
    this.#digests.set(table.qualified, digest);
    const key = this.#options.currentResource(name)?.table.key.map(column => column.name);
    if (key?.join() === table.key.map(column => column.name).join()) return;
    throw new FreshetError({
      code: 'definition-changed',
      message: `the primary key of ${table.qualified} is another one than when the request came`,
      hint: 'Ask again.',
      retryable: true,
    });
  }

  /** Null when the cache cannot be asked. */
  async #lookUp(slot: Slot): Promise<RowRead | null> {
    try {
      return await this.#options.store.readRow(slot);
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'cache-unavailable') return null;
      throw error;
    }
  }

  /** How an entry may be served, if at all. */
  async #prove(
    resource: Resource,
    key: readonly string[],
    entry: Entry,
    sentAtMs: number,
    demandProof: boolean,
  ): Promise<'hit' | 'guarded' | null> {
    const { freshness, guard } = this.#options;
    if (!demandProof) {
      if (freshness.covers(sentAtMs)) return 'hit';
      if (guard.covers(entry, sentAtMs)) return 'guarded';
    }
    return (await guard.check(resource.table, key, entry)) === 'proven' ? 'guarded' : null;
  }

  /**
   * One reading per row and process at a time. Who comes while its statement is not sent yet shares the result;
   * who comes later waits for it and looks into the cache again, since that statement may not see what was
   * committed before they asked.
   */
  async #fly(
    resource: Resource,
    key: readonly string[],
    slot: Slot,
    read: RowRead,
    judged: string | null,
  ): Promise<{ filled: Filled; shared: boolean }> {
    const name = `${slot.tag} ${slot.rep}`;
    const under = this.#flights.get(name);
    if (under) {
      const mayShare = !under.sent;
      const filled = await under.result;
      return { filled: mayShare ? filled : LOOK_AGAIN, shared: true };
    }
    const flight: Flight = { sent: false, result: Promise.resolve(LOOK_AGAIN) };
    this.#flights.set(name, flight);
    flight.result = this.#fill(resource, key, slot, read, judged, flight);
    try {
      return { filled: await flight.result, shared: false };
    } finally {
      this.#flights.delete(name);
    }
  }

  /** Lease and fill, or wait for whoever holds the lease, or in the end read past the cache. */
  async #fill(
    resource: Resource,
    key: readonly string[],
    slot: Slot,
    read: RowRead,
    judged: string | null,
    flight: Flight,
  ): Promise<Filled> {
    const onSend = (): void => {
      flight.sent = true;
    };
    const past = async (stored: 'lease_lost' | 'not_cacheable'): Promise<Filled> => {
      return { kind: 'loaded', loaded: await this.#load(resource, key, onSend), stored };
    };
    let filled: Filled;
    try {
      filled = await this.#bounded(() =>
        this.#options.filler.leaseAndFill(resource, key, read.control, { judged, onSend }),
      );
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'cache-unavailable') return past('not_cacheable');
      throw error;
    }
    if (filled.kind !== 'wait') return filled;
    const untilMs = this.#options.clock.monotonicMs() + (this.#options.leaseWaitMs ?? LEASE_WAIT_MS);
    for (
      let pollMs = FIRST_POLL_MS;
      this.#options.clock.monotonicMs() < untilMs;
      pollMs = Math.min(pollMs * 2, LONGEST_POLL_MS)
    ) {
      await delay(pollMs);
      const look = await this.#lookUp(slot);
      if (look === null) break;
      if (look.entry && look.entry.meta.fillId !== judged) return { kind: 'present', entry: look.entry };
    }
    return past('lease_lost');
  }

  /** Redis cannot be used: the database, once per row and process at a time. */
  async #bypass(resource: Resource, key: readonly string[], slot: Slot): Promise<RowAnswer> {
    const read: RowRead = { entry: null, control: null, sentAtMs: 0 };
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const { filled } = await this.#fly(resource, key, slot, read, null);
      if (filled.kind === 'loaded') return this.#answerLoaded(filled.loaded, 'bypass', false, null);
    }
    return this.#answerLoaded(await this.#load(resource, key), 'bypass', false, null);
  }

  #load(resource: Resource, key: readonly string[], onSend?: () => void): Promise<Loaded> {
    return this.#bounded(() => {
      onSend?.();
      return this.#options.filler.load(resource, key);
    });
  }

  #bounded<T>(work: () => Promise<T>): Promise<T> {
    const { limit, mostWaiting } = this.#options;
    if (limit.pendingCount >= mostWaiting) {
      return Promise.reject(overloaded(`${limit.pendingCount} readings wait for their turn`));
    }
    return limit(work);
  }

  #answerEntry({ meta, body }: Entry, proof: 'hit' | 'guarded'): RowAnswer {
    return {
      found: meta.found,
      body,
      etag: meta.etag,
      result: proof === 'hit' && !meta.found ? 'negative' : proof,
      mode: proof === 'hit' ? 'FRESH' : 'GUARDED',
      stored: true,
      ttlSeconds:
        meta.expiresAtMs === 0
          ? null
          : Math.max(0, Math.round((meta.expiresAtMs - this.#options.clock.wallMs()) / 1000)),
      token: meta.xid === '' ? null : this.#options.tokenPrefix + meta.xid,
      why: null,
    };
  }

  #answerLoaded(
    loaded: Loaded,
    result: ReadResult,
    stored: boolean,
    why: string | null,
    stale = false,
  ): RowAnswer {
    const mode: Mode = result === 'bypass' ? 'BYPASS' : this.#options.freshness.mode();
    return {
      found: loaded.found,
      body: loaded.body,
      etag: loaded.etag,
      result,
      mode,
      stored,
      ttlSeconds: null,
      token: loaded.xid === '' ? null : this.#options.tokenPrefix + loaded.xid,
      why: why ?? (stale ? 'stale' : null),
    };
  }
}
