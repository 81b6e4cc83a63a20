import { randomUUID } from 'node:crypto';
import type { TableControl } from '../protocol/entry.ts';
import type { Control, TableState } from './records.ts';

/** How the record `control` is written: `t:<table>` holds '<generation> <digest>'. */
export const TABLE_FIELD = 't:';
/** The epoch whose gaps are closed. */
export const CLOSED = 'closed';
const NOT_CACHEABLE = '-';
const SAME_DIGEST = '=';

export const tableFields = ({ table, generation, digest }: TableState): [string, string] => [
  TABLE_FIELD + table,
  `${generation} ${digest ?? NOT_CACHEABLE}`,
];

/** A new generation, cacheable or not as before. */
export const bumpFields = (table: string): [string, string] => [
  TABLE_FIELD + table,
  `${randomUUID()} ${SAME_DIGEST}`,
];

/** Of HGETALL's answer; null when there is no epoch. */
export function parseControl(flat: readonly string[]): Control | null {
  const fields = new Map<string, string>();
  for (let i = 0; i < flat.length; i += 2) fields.set(flat[i]!, flat[i + 1]!);
  const epoch = fields.get('epoch');
  if (epoch === undefined) return null;
  const tables = new Map<string, TableState>();
  for (const [field, value] of fields) {
    if (!field.startsWith(TABLE_FIELD)) continue;
    const table = field.slice(TABLE_FIELD.length);
    const [generation, digest] = value.split(' ') as [string, string];
    tables.set(table, { table, generation, digest: digest === NOT_CACHEABLE ? null : digest });
  }
  return {
    epoch,
    worker: fields.get('worker') ?? null,
    incarnation: fields.get('incarnation') ?? '',
    isClosed: fields.get(CLOSED) === epoch,
    tables,
  };
}

/** What a read needs of `control` for its table; null while it says nothing of it. */
export function tableControl(
  incarnation: string | null,
  epoch: string | null,
  state: string | null,
): TableControl | null {
  if (incarnation === null || epoch === null || state === null) return null;
  const [generation, digest] = state.split(' ') as [string, string];
  return {
    stamp: `${incarnation} ${epoch} ${generation}`,
    incarnation,
    digest: digest === NOT_CACHEABLE ? null : digest,
  };
}
