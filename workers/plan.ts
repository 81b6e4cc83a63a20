import { type RowTag, rowTag } from '../shared/resources/keys.ts';
import type { Change } from './feed/feed.ts';

/** What one change makes wrong. */
export interface Plan {
  /** Rows to fence: before and after a key change both, since each of them now answers differently. */
  readonly rows: readonly { readonly tag: RowTag; readonly key: readonly string[]; readonly gone: boolean }[];
  /** Every row of the table is in doubt: a new generation. */
  readonly wholeTable: 'truncate' | 'unreadable' | null;
}

/** Pure: change → row keys and generations. The widest answer is always right; a narrower one must be certain. */
export function plan(change: Change): Plan {
  const { op, table, keyBefore, keyAfter } = change;
  if (op === 'truncate') return { rows: [], wholeTable: 'truncate' };
  const row = (key: readonly string[], gone: boolean) => ({ tag: rowTag(table, key), key, gone });
  if (op === 'delete') return keyBefore ? { rows: [row(keyBefore, true)], wholeTable: null } : UNREADABLE;
  if (!keyAfter) return UNREADABLE;
  const after = row(keyAfter, false);
  if (!keyBefore) return { rows: [after], wholeTable: null };
  const before = row(keyBefore, true);
  return { rows: before.tag === after.tag ? [after] : [before, after], wholeTable: null };
}

const UNREADABLE: Plan = { rows: [], wholeTable: 'unreadable' };
