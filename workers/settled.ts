import type { Xid } from '../shared/protocol/xid.ts';
import type { RowTag } from '../shared/resources/keys.ts';

/** A row whose change is fenced and settled: what may follow (rewarm, cleanup) may follow now. */
export interface SettledRow {
  /** Qualified table name. */
  readonly table: string;
  readonly tag: RowTag;
  readonly key: readonly string[];
  /** The row no longer exists under this key. */
  readonly gone: boolean;
  readonly xid: Xid;
}

/** Told of every settled row. Never throws and never waits: freshness does not depend on it. */
export type AfterSettled = (row: SettledRow) => void;
