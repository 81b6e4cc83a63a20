import type { RowTag } from '../resources/keys.ts';

/**
 * The life of one row entry: one representation inside the record of a row.
 *
 *   ┌─────────┐  LEASE   ┌─────────┐  FILL, S sees every xid in x   ┌──────────┐
 *   │ ABSENT  ├─────────▶│ LEASED  ├───────────────────────────────▶│  STORED  │──┐ EVENT(x), S sees x:
 *   │         │◀─────────┤ l, x    │  FILL, S misses one: refused    │  b, s, m │◀─┘ already fresh, stays
 *   └─────────┘          └──┬───▲──┘                                 └──┬────┬──┘
 *        ▲                  │   │ LEASE after the deadline,             │    │ LEASE by a reader that
 *        │         EVENT(x) └───┘ x emptied                             │    │ found it of another stamp,
 *        │         adds x, whatever the deadline                        │    │ expired or disproved
 *        └──────────────────────────────────────────────────────────────┘    └──▶ LEASED
 *                    EVENT(x), S does not see x: dropped at once
 *
 * Eviction, expiry or a lost Redis may take any state to ABSENT at any moment: the lease lives in the record, so
 * a fill that comes afterwards finds no lease and is refused. An entry of another stamp is as good as absent for
 * every reader, without anybody having to delete it: that is how a new epoch or generation empties the cache.
 */

/**
 * Under which circumstances an entry was made: as read from `control` before the lease was asked for.
 * Readers compare the whole text with what `control` says now.
 */
export interface Stamp {
  /** Which life of the database: a random value that a crash recovery, promotion or restore wipes out. */
  readonly incarnation: string;
  /** Which life of the cache. */
  readonly epoch: string;
  /** Which definition and bulk state of the table. */
  readonly generation: string;
}

export const stampText = (stamp: Stamp): string => `${stamp.incarnation} ${stamp.epoch} ${stamp.generation}`;

/** What `control` says of one table, and what a reader needs to judge and to make its entries. */
export interface TableControl {
  /** `stampText` of the three; the only form readers compare. */
  readonly stamp: string;
  readonly incarnation: string;
  /** Digest of the table's definition and publication; null while its entries may not be cached. */
  readonly digest: string | null;
}

/** The meta of an entry, stored beside the body: one line of tab-separated fields, cheap to take apart on a hit. */
export interface EntryMeta {
  readonly stamp: string;
  /** Names this very entry: no other fill has the same. */
  readonly fillId: string;
  readonly found: boolean;
  /** Quoted, strong; empty for "no such row". */
  readonly etag: string;
  /** The row's `xmin` as the statement printed it, compared for equality only; empty for "no such row". */
  readonly rowXmin: string;
  /** The row's xmin widened to 64 bits, for tokens; empty for "no such row". */
  readonly xid: string;
  readonly digest: string;
  readonly filledAtMs: number;
  /** By Redis' clock; 0: never. */
  readonly expiresAtMs: number;
}

export const metaText = (meta: EntryMeta): string =>
  [
    meta.stamp,
    meta.fillId,
    meta.found ? '1' : '0',
    meta.etag,
    meta.rowXmin,
    meta.xid,
    meta.digest,
    meta.filledAtMs,
    meta.expiresAtMs,
  ].join('\t');

/** Null for a text that this version did not write: treated as no entry. */
export function parseMeta(text: string): EntryMeta | null {
  const fields = text.split('\t');
  if (fields.length !== 9) return null;
  return {
    stamp: fields[0]!,
    fillId: fields[1]!,
    found: fields[2] === '1',
    etag: fields[3]!,
    rowXmin: fields[4]!,
    xid: fields[5]!,
    digest: fields[6]!,
    filledAtMs: Number(fields[7]),
    expiresAtMs: Number(fields[8]),
  };
}

/** A stored entry as a reader holds it. */
export interface Entry {
  readonly meta: EntryMeta;
  /** Ready to send; empty for "no such row". */
  readonly body: Buffer;
}

/** One row in one representation: what is leased, filled and read. */
export interface Slot {
  readonly tag: RowTag;
  readonly table: string;
  readonly rep: string;
}

/**
 * Whether an entry may be served as far as the cache itself can tell: made under today's stamp and not expired.
 * That its row has not changed since needs no check here: the EVENT of a change has removed it.
 */
export const isServable = (meta: EntryMeta, control: TableControl, nowMs: number): boolean =>
  meta.stamp === control.stamp && (meta.expiresAtMs === 0 || nowMs < meta.expiresAtMs);
