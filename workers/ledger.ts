import type { Snapshot } from '../shared/protocol/snapshot.ts';
import { sees } from '../shared/protocol/snapshot.ts';
import type { Xid } from '../shared/protocol/xid.ts';
import type { RowTag } from '../shared/resources/keys.ts';
import type { Beat, Change, FeedItem } from './feed/feed.ts';
import { formatLsn } from './feed/lsn.ts';
import { plan } from './plan.ts';

export type WholeTableCause = 'truncate' | 'bulk' | 'unreadable' | 'definition';

/** Something to be made certain of before the position may move past it. */
export interface Pending {
  readonly item:
    | FeedItem
    | { readonly kind: 'bulk' | 'doubt'; readonly table: string; readonly xid: Xid | null };
  /** Rows to fence; emptied when the whole table is put in doubt instead. */
  rows: readonly { readonly tag: RowTag; readonly key: readonly string[]; readonly gone: boolean }[];
  /** A new generation of this table (null: of every table) once the change is visible. */
  readonly wholeTable: { readonly table: string | null; readonly cause: WholeTableCause } | null;
  /**
   * Whose visibility settles it; null: nobody's in particular, or nobody knows whose (see `Ledger.isVisible`). Rows
   * of an unknown transaction get one that began after they came, by `bound`.
   */
  xid: Xid | null;
  /** For an unknown transaction: none that ran when this came has a higher id; null until `bound` was called. */
  boundary: Xid | null;
  appliedMs: number | null;
  settled: boolean;
}

export interface Settled {
  readonly position: {
    readonly partition: number;
    readonly position: string;
    readonly committedMs: number;
  } | null;
  readonly beats: readonly { readonly partition: number; readonly beat: Beat }[];
  readonly changes: readonly Pending[];
}

/** Rows of one table in one transaction beyond which a new generation is cheaper than so many events. */
export const BULK_ROWS = 10_000;

/**
 * What was received of one partition and is not settled yet, in the order of the log. The position moves over its
 * finished front only, so that a crash at any moment has everything behind it delivered again.
 */
export class Ledger {
  #pending: Pending[] = [];
  /** Of the transaction under way. */
  #counting: Xid | null = null;
  /** Its rows by table; BULK_ROWS + 1 once they were put together. */
  readonly #counts = new Map<string, number>();

  get size(): number {
    return this.#pending.length;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  clear(): void {
    this.#pending = [];
    this.#counts.clear();
  }

  add(items: readonly FeedItem[]): void {
    for (const item of items) {
      if (item.kind === 'change') this.#addChange(item);
      else if (item.kind === 'unreadable') {
        this.#push(item, [], { table: item.table, cause: 'unreadable' }, item.xid);
      } else this.#push(item, [], null, null);
    }
  }

  #addChange(item: FeedItem & { kind: 'change' }): void {
    const { change } = item;
    const { rows, wholeTable } = plan(change);
    if (wholeTable) {
      this.#push(item, [], { table: change.table, cause: wholeTable }, change.xid);
      return;
    }
    if (change.xid === null) {
      this.#push({ ...item, change: withoutImages(change) }, rows, null, null);
      return;
    }
    // A transaction arrives in one piece: behind the first change of another one, nothing more of it can come.
    if (change.xid !== this.#counting) this.#counts.clear();
    this.#counting = change.xid;
    const count = (this.#counts.get(change.table) ?? 0) + 1;
    if (count > BULK_ROWS + 1) return;
    this.#counts.set(change.table, count);
    if (count <= BULK_ROWS) {
      // Images are not needed any more, and would keep the whole message in memory until it is settled.
      this.#push({ ...item, change: withoutImages(change) }, rows, null, change.xid);
      return;
    }
    for (const earlier of this.#pending) if (isChangeOf(earlier, change)) earlier.rows = [];
    this.#push(
      { kind: 'bulk', table: change.table, xid: change.xid },
      [],
      { table: change.table, cause: 'bulk' },
      change.xid,
    );
  }

  /**
   * The keys of these tables' changes may have been read by a definition that is not theirs: once each is visible,
   * the whole table is in doubt instead.
   */
  doubt(tables: ReadonlySet<string>): void {
    this.#pending = this.#pending.map(one =>
      one.item.kind === 'change' && tables.has(one.item.change.table) && one.rows.length > 0
        ? {
            ...one,
            item: { kind: 'doubt', table: one.item.change.table, xid: one.xid },
            rows: [],
            wholeTable: { table: one.item.change.table, cause: 'definition' },
            settled: false,
          }
        : one,
    );
  }

  #push(
    item: Pending['item'],
    rows: Pending['rows'],
    wholeTable: Pending['wholeTable'],
    xid: Xid | null,
  ): void {
    this.#pending.push({ item, rows, wholeTable, xid, boundary: null, appliedMs: null, settled: false });
  }

  /**
   * What has to be applied in a round whose snapshot is P: all that never was, and all that P now sees. An event
   * applied before its transaction was visible may have met no record, and an old row may have been cached since.
   */
  toApply(p: Snapshot): Pending[] {
    return this.#pending.filter(one => !one.settled && (one.appliedMs === null || this.isVisible(one, p)));
  }

  /** Something is held of which nobody knows the transaction: it settles behind a boundary only. */
  get lacksBoundary(): boolean {
    return this.#pending.some(isUnbounded);
  }

  /**
   * `xid`: a transaction id given out after all that is held was received. A snapshot's xmax would not do: it is
   * the first id not *ended* yet, and transactions beyond it may be running.
   */
  bound(xid: Xid): void {
    for (const one of this.#pending) {
      if (!isUnbounded(one)) continue;
      // An entry that sees a transaction begun since has seen whoever changed the row before.
      if (one.wholeTable === null) one.xid = xid;
      else one.boundary = xid;
    }
  }

  /** Whether something is held under an id beyond this one. */
  reachesBeyond(xid: Xid): boolean {
    return this.#pending.some(one => one.xid !== null && one.xid > xid);
  }

  /**
   * `given`: a transaction id given out after all that is held was received. Ids beyond it are nobody's: whoever wrote
   * such a change made it up, and it would never become visible.
   */
  refuseBeyond(given: Xid): void {
    this.#pending = this.#pending.map(one =>
      one.xid === null || one.xid <= given
        ? one
        : { ...refused(one, given), xid: null, boundary: given, appliedMs: null, settled: false },
    );
  }

  isVisible(one: Pending, p: Snapshot): boolean {
    if (one.xid !== null) return sees(p, one.xid);
    if (one.wholeTable === null) return true;
    return one.boundary !== null && p.xmin > one.boundary;
  }

  /** Takes the settled front off. */
  advance(): Settled {
    let position: Settled['position'] = null;
    const beats: { partition: number; beat: Beat }[] = [];
    const changes: Pending[] = [];
    let done = 0;
    for (const one of this.#pending) {
      if (!one.settled) break;
      done += 1;
      const { item } = one;
      if (item.kind === 'mark') position = item;
      else if (item.kind === 'beat') beats.push(item);
      else changes.push(one);
    }
    if (done > 0) this.#pending = this.#pending.slice(done);
    return { position, beats, changes };
  }
}

function refused(
  { item, rows, wholeTable, xid }: Pending,
  given: Xid,
): Pick<Pending, 'item' | 'rows' | 'wholeTable'> {
  if (item.kind !== 'change') return { item, rows, wholeTable };
  const { partition, change } = item;
  const { table, lsn, op, keyBefore, keyAfter } = change;
  return {
    item: {
      kind: 'unreadable',
      partition,
      table,
      xid: null,
      place: `LSN ${formatLsn(lsn)}`,
      raw: Buffer.from(JSON.stringify({ op, table, xid: String(xid), keyBefore, keyAfter })),
      error: new RangeError(`transaction ${xid} was not given out yet, ${given} was the last one`),
    },
    rows: [],
    wholeTable: { table, cause: 'unreadable' },
  };
}

const isUnbounded = ({ xid, rows, wholeTable, boundary }: Pending): boolean =>
  xid === null && boundary === null && (wholeTable !== null || rows.length > 0);

const isChangeOf = ({ item }: Pending, { xid, table }: Change): boolean =>
  item.kind === 'change' && item.change.xid === xid && item.change.table === table;

const withoutImages = ({ op, table, xid, lsn, committedMs, keyBefore, keyAfter }: Change): Change => ({
  op,
  table,
  xid,
  lsn,
  committedMs,
  keyBefore,
  keyAfter,
  before: null,
  after: null,
});
