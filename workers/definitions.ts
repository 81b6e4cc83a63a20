import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { CacheStore, TableState } from '../shared/cache/store.ts';
import type { Observer } from '../shared/observe.ts';
import { barrierXid, isCommitUnderWay, type Probe } from '../shared/origin/probe.ts';
import type { Xid } from '../shared/protocol/xid.ts';
import type { TableShape } from '../shared/resources/resource.ts';

/** The served tables, and how to look at their definitions again. */
export interface WatchedTables {
  tables(): ReadonlyMap<string, TableShape>;
  /** Reads definitions and publication again. */
  refresh(): Promise<unknown>;
  /** Why entries of a table may not be cached now; null when they may. */
  uncacheable(table: string): string | null;
}

export interface DefinitionsOptions {
  readonly store: CacheStore;
  readonly pool: pg.Pool;
  readonly watched: WatchedTables;
  readonly observer: Observer;
  /** Name of this worker, under which it claimed the database. */
  readonly worker: string;
  /** Why `control` does not hold the epoch under which this works. */
  readonly otherEpoch: () => Promise<Error>;
}

/**
 * What the served tables looked like at the last P, and which of them may be cached.
 *
 *   digest as before ─▶ cacheable
 *        │ differs
 *        ▼
 *   HELD: a new generation in which nothing is cached ──▶ every transaction of before has ended ──▶ a new generation
 *
 * A transaction that was open when a definition changed may still bring changes under the old one: not published,
 * or under another key. Whoever cached a row meanwhile would never hear of them. So nothing is cached until the
 * last of them has ended.
 */
export class Definitions {
  readonly #options: DefinitionsOptions;
  #epoch = '';
  #digests = new Map<string, string | null>();
  /** Table → no transaction up to this one may be running when it is cached again. */
  readonly #held = new Map<string, Xid>();

  constructor(options: DefinitionsOptions) {
    this.#options = options;
  }

  begin(epoch: string, digests: ReadonlyMap<string, string | null>): void {
    this.#epoch = epoch;
    this.#digests = new Map(digests);
    this.#held.clear();
  }

  /** Every transaction that was running when a table was last held has ended. */
  release(): void {
    this.#held.clear();
  }

  /**
   * Compares P with what is known. False while a transaction that P sees may not have told the other sessions of
   * its change yet: such a P settles nothing.
   */
  async follow(p: Probe): Promise<boolean> {
    const { watched, pool } = this.#options;
    const changed = [...watched.tables().keys()].filter(
      table => (p.digests.get(table) ?? null) !== (this.#digests.get(table) ?? null),
    );
    if (changed.length > 0) {
      if (await isCommitUnderWay(pool)) return false;
      await watched.refresh();
      await this.hold(changed, p, 'definition');
    }
    await this.#release(p);
    return true;
  }

  /** Nothing of these tables is cached until every transaction that runs now has ended. P saw what they are now. */
  async hold(tables: readonly string[], p: Probe, cause: 'definition' | 'first-start'): Promise<void> {
    if (tables.length === 0) return;
    const boundary = await barrierXid(this.#options.pool);
    await this.#raise(
      tables.map(table => ({ table, generation: randomUUID(), digest: null })),
      cause,
    );
    for (const table of tables) {
      this.#digests.set(table, p.digests.get(table) ?? null);
      this.#held.set(table, boundary);
    }
  }

  async #release(p: Probe): Promise<void> {
    const free = [...this.#held].filter(([, boundary]) => p.snapshot.xmin > boundary).map(([table]) => table);
    if (free.length === 0) return;
    for (const table of free) this.#held.delete(table);
    try {
      await this.#raise(
        free.map(table => this.stateOf(table, p)),
        'definition',
      );
    } catch (error) {
      // Repeated with the round: what was not raised is held as before, its boundary passed.
      for (const table of free) this.#held.set(table, 0n);
      throw error;
    }
  }

  /** A generation never used before, under the definition that P saw. */
  stateOf(table: string, p: Probe): TableState {
    const { watched } = this.#options;
    const cacheable =
      watched.tables().has(table) && watched.uncacheable(table) === null && !this.#held.has(table);
    return { table, generation: randomUUID(), digest: cacheable ? (p.digests.get(table) ?? null) : null };
  }

  async #raise(states: readonly TableState[], cause: 'definition' | 'first-start'): Promise<void> {
    const { store, observer, worker, otherEpoch } = this.#options;
    if (!(await store.raiseGenerations(this.#epoch, states, worker))) throw await otherEpoch();
    for (const { table } of states) observer.emit({ type: 'generation.raised', table, cause });
  }
}
