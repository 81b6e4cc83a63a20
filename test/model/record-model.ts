import { parseSnapshot, sees } from '../../shared/protocol/snapshot.ts';

/**
 * The record of one row as the protocol tells of it, in plain TypeScript: what the scripts are compared with.
 * A representation is absent, leased or stored, never two of them. Times are milliseconds of Redis' clock.
 */
type Representation =
  | { readonly is: 'leased'; readonly token: string; deadline: number; readonly noted: Set<string> }
  | { readonly is: 'stored'; readonly entry: StoredEntry };

export interface StoredEntry {
  readonly body: string;
  readonly snapshot: string;
  /** As in an entry's meta: the stamp it was made under, and what names this very entry. */
  readonly stamp: string;
  readonly fillId: string;
  readonly meta: string;
}

export type LeaseAnswer =
  | { readonly kind: 'present'; readonly entry: StoredEntry }
  | { readonly kind: 'wait'; readonly forMs: number }
  | { readonly kind: 'granted'; readonly now: number };

/** Changes that one fill survives; with more of them its lease is taken away. */
const MOST_NOTED = 16;
/** How long a record without a body is kept beyond its lease. */
const LEFTOVER_MS = 60_000;

export class RecordModel {
  readonly #representations = new Map<string, Representation>();
  #lifetimeMs: number | null = null;

  /** How long the record lives, counted from when that was last set; null: for ever. */
  get lifetimeMs(): number | null {
    return this.#lifetimeMs;
  }

  get exists(): boolean {
    return this.#representations.size > 0;
  }

  /** LEASE: one filler at a time for each representation. An entry that is as good as another is not filled again. */
  lease(
    rep: string,
    asked: { stamp: string; token: string; leaseMs: number; judged: string; now: number },
  ): LeaseAnswer {
    const current = this.#representations.get(rep);
    if (current?.is === 'stored') {
      const { entry } = current;
      if (entry.stamp === asked.stamp && entry.fillId !== asked.judged) return { kind: 'present', entry };
    }
    if (current?.is === 'leased' && current.deadline > asked.now) {
      return { kind: 'wait', forMs: current.deadline - asked.now };
    }
    const { token, leaseMs, now } = asked;
    this.#set(rep, { is: 'leased', token, deadline: now + leaseMs, noted: new Set() });
    if (!this.#hasBodies || this.#lifetimeMs !== null) {
      const keptMs = this.#hasBodies ? (this.#lifetimeMs ?? 0) : 0;
      this.#lifetimeMs = Math.max(keptMs, leaseMs + LEFTOVER_MS);
    }
    return { kind: 'granted', now };
  }

  /** FILL: believed from the holder of the lease alone, and only with a snapshot that sees every noted change. */
  fill(rep: string, token: string, entry: StoredEntry, ttlMs: number): 'stored' | 'fenced' | 'lease_lost' {
    const current = this.#representations.get(rep);
    if (current?.is !== 'leased' || current.token !== token) return 'lease_lost';
    if (!seesAll(entry.snapshot, current.noted)) {
      this.#set(rep, null);
      return 'fenced';
    }
    const isAlone = !this.#hasBodies;
    this.#set(rep, { is: 'stored', entry });
    if (ttlMs === 0) this.#lifetimeMs = null;
    else if (isAlone) this.#lifetimeMs = ttlMs;
    else if (this.#lifetimeMs !== null) this.#lifetimeMs = Math.max(this.#lifetimeMs, ttlMs);
    return 'stored';
  }

  /** EVENT: every entry that has not seen a change goes, every filler is told of all of them, in time or late. */
  event(xids: readonly string[]): 'applied' | 'already_fresh' | 'absent' {
    if (!this.exists) return 'absent';
    let applied = false;
    for (const [rep, current] of [...this.#representations]) {
      if (current.is === 'stored') {
        if (seesAll(current.entry.snapshot, xids)) continue;
        this.#set(rep, null);
      } else {
        for (const xid of xids) current.noted.add(xid);
        if (current.noted.size > MOST_NOTED) this.#set(rep, null);
      }
      applied = true;
    }
    if (this.exists && !this.#hasBodies) this.#lifetimeMs ??= LEFTOVER_MS;
    return applied ? 'applied' : 'already_fresh';
  }

  /** The record is gone, by eviction, expiry or loss; with it every lease. */
  evict(): void {
    this.#representations.clear();
    this.#lifetimeMs = null;
  }

  /** The time of a lease is over; nothing else happens by that. Whether there was one. */
  passDeadline(rep: string): boolean {
    const current = this.#representations.get(rep);
    if (current?.is !== 'leased') return false;
    current.deadline = LONG_AGO;
    return true;
  }

  /** What HGETALL would say, noted transactions as sorted lists. */
  fields(): Record<string, string | readonly string[]> {
    const fields: Record<string, string | readonly string[]> = {};
    for (const [rep, current] of this.#representations) {
      if (current.is === 'stored') {
        fields[`b:${rep}`] = current.entry.body;
        fields[`s:${rep}`] = current.entry.snapshot;
        fields[`m:${rep}`] = current.entry.meta;
      } else {
        fields[`l:${rep}`] = `${current.token}:${current.deadline}`;
        if (current.noted.size > 0) fields[`x:${rep}`] = [...current.noted].sort();
      }
    }
    return fields;
  }

  get #hasBodies(): boolean {
    return [...this.#representations.values()].some(({ is }) => is === 'stored');
  }

  #set(rep: string, next: Representation | null): void {
    if (next) this.#representations.set(rep, next);
    else this.#representations.delete(rep);
    if (!this.exists) this.#lifetimeMs = null;
  }
}

/** A deadline that has passed, whenever it is looked at. */
export const LONG_AGO = 1;

function seesAll(snapshot: string, xids: Iterable<string>): boolean {
  const parsed = parseSnapshot(snapshot);
  return [...xids].every(xid => sees(parsed, BigInt(xid)));
}
