import type pg from 'pg';
import type { CacheStore } from '../cache/store.ts';
import type { Clock } from '../clock.ts';
import { FreshetError } from '../errors.ts';
import type { FillRefusal, Observer } from '../observe.ts';
import { readRow } from '../origin/read.ts';
import type { Entry, Slot, TableControl } from '../protocol/entry.ts';
import { parseSnapshot, sees } from '../protocol/snapshot.ts';
import { FIRST_NORMAL_XID, widen, type Xid } from '../protocol/xid.ts';
import { rowTag } from '../resources/keys.ts';
import type { Resource } from '../resources/resource.ts';
import { represent } from './represent.ts';

/** A row as read from the primary and made ready to send. */
export interface Loaded {
  readonly found: boolean;
  /** Empty when not found. */
  readonly body: Buffer;
  readonly etag: string;
  readonly rowXmin: string;
  /** The row's xmin widened to 64 bits, decimal; empty when unknown. */
  readonly xid: string;
  readonly snapshot: string;
  readonly incarnation: string | null;
}

export type Filled =
  | {
      readonly kind: 'loaded';
      readonly loaded: Loaded;
      readonly stored: 'stored' | FillRefusal | 'not_cacheable' | 'not_seen';
    }
  | { readonly kind: 'present'; readonly entry: Entry }
  | { readonly kind: 'wait'; readonly forMs: number };

export type FillResult =
  | { readonly status: 'stored'; readonly found: boolean }
  | { readonly status: 'present' }
  | { readonly status: 'busy' }
  | { readonly status: 'refused'; readonly reason: FillRefusal | 'not_cacheable' | 'not_seen' };

export interface FillerOptions {
  readonly store: CacheStore;
  /** Read-only sessions on the primary: a statement must not see an xid of its own. */
  readonly pool: pg.Pool;
  readonly clock: Clock;
  readonly observer: Observer;
  /** How long one filler may keep the others waiting; a late fill is still accepted while nobody else leased. */
  readonly leaseMs?: number;
}

const LEASE_MS = 3_000;

export const slotOfRow = (resource: Resource, key: readonly string[]): Slot => ({
  tag: rowTag(resource.table.qualified, key),
  table: resource.table.qualified,
  rep: resource.rep,
});

/** The one way to make an entry: for requests, rewarm and warm-up alike. */
export class Filler {
  readonly #options: FillerOptions;

  constructor(options: FillerOptions) {
    this.#options = options;
  }

  /**
   * Lease, reading statement, fill, in this order and never pipelined: the statement's snapshot must be younger
   * than the lease. `control` was read before; what is stored is stamped with it.
   * `onSend` is told just before the statement leaves: who asks later must not be given its result.
   */
  async leaseAndFill(
    resource: Resource,
    key: readonly string[],
    control: TableControl | null,
    { judged = null, mustSee, onSend }: { judged?: string | null; mustSee?: Xid; onSend?: () => void } = {},
  ): Promise<Filled> {
    const { store, observer } = this.#options;
    if (control === null || control.digest === null) {
      onSend?.();
      return { kind: 'loaded', loaded: await this.load(resource, key), stored: 'not_cacheable' };
    }
    const slot = slotOfRow(resource, key);
    const lease = await store.lease(slot, control.stamp, this.#options.leaseMs ?? LEASE_MS, judged);
    if (lease.kind !== 'granted') return lease;

    onSend?.();
    let loaded: Loaded;
    try {
      loaded = await this.load(resource, key);
    } catch (error) {
      await store.release(slot, lease.token);
      throw error;
    }
    if (mustSee !== undefined && !sees(parseSnapshot(loaded.snapshot), mustSee)) {
      await store.release(slot, lease.token);
      return { kind: 'loaded', loaded, stored: 'not_seen' };
    }
    // Another life of the database than the stamp says: an old primary, a promoted standby, a recovered crash.
    let stored: 'stored' | FillRefusal = 'older_epoch';
    if (loaded.incarnation === control.incarnation) {
      const meta = {
        stamp: control.stamp,
        fillId: lease.token,
        found: loaded.found,
        etag: loaded.etag,
        rowXmin: loaded.rowXmin,
        xid: loaded.xid,
        digest: control.digest,
        filledAtMs: lease.nowMs,
        expiresAtMs: loaded.found
          ? resource.ttlMs === 0
            ? 0
            : lease.nowMs + resource.ttlMs
          : lease.nowMs + NEGATIVE_TTL_MS,
      };
      const ttlMs = loaded.found ? resource.ttlMs : NEGATIVE_TTL_MS;
      try {
        stored = await store.fill(slot, lease.token, loaded.snapshot, loaded.body, meta, ttlMs);
      } catch (error) {
        // The row is read; a cache that cannot take it costs the next reader, not this one.
        if (!(error instanceof FreshetError && error.retryable)) throw error;
        stored = 'lease_lost';
      }
    }
    if (stored === 'older_epoch') await store.release(slot, lease.token);
    if (stored !== 'stored') observer.emit({ type: 'fill.refused', resource: resource.name, reason: stored });
    return { kind: 'loaded', loaded, stored };
  }

  /** The row from the primary, past the cache. */
  async load(resource: Resource, key: readonly string[]): Promise<Loaded> {
    const { pool, clock, observer } = this.#options;
    const startMs = clock.monotonicMs();
    const report = (outcome: 'found' | 'absent' | 'error'): void =>
      observer.emit({
        type: 'origin.loaded',
        resource: resource.name,
        outcome,
        durationMs: clock.monotonicMs() - startMs,
      });
    try {
      const { texts, rowXmin, snapshot, incarnation } = await readRow(pool, resource, key, clock);
      report(texts ? 'found' : 'absent');
      if (!texts) return { found: false, body: EMPTY, etag: '', rowXmin: '', xid: '', snapshot, incarnation };
      const low = Number(rowXmin);
      // Frozen or bootstrap rows have no transaction that anybody could name.
      const xid = BigInt(low) < FIRST_NORMAL_XID ? '' : String(widen(low, parseSnapshot(snapshot).xmax));
      return { found: true, ...represent(resource, texts), rowXmin, xid, snapshot, incarnation };
    } catch (error) {
      report('error');
      throw error;
    }
  }

  /** Makes sure an entry of this row is cached, for those who do not want to read it. */
  async fill(
    resource: Resource,
    key: readonly string[],
    options: { mustSee?: Xid } = {},
  ): Promise<FillResult> {
    const { control } = await this.#options.store.readRow(slotOfRow(resource, key));
    if (control === null || control.digest === null) return { status: 'refused', reason: 'not_cacheable' };
    const filled = await this.leaseAndFill(resource, key, control, options);
    if (filled.kind === 'present') return { status: 'present' };
    if (filled.kind === 'wait') return { status: 'busy' };
    if (filled.stored === 'stored') return { status: 'stored', found: filled.loaded.found };
    return { status: 'refused', reason: filled.stored };
  }
}

const EMPTY = Buffer.alloc(0);
/** "No such row" never stays for good: ids that nobody asks for again would fill the memory. */
export const NEGATIVE_TTL_MS = 600_000;
