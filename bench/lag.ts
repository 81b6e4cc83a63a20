import type { CachedRows } from './cached-rows.ts';
import { percentile } from './figures.ts';
import type { Program } from './processes.ts';
import { until } from './until.ts';
import { settledChanges, untilSettled } from './worker-metrics.ts';
import type { Writers } from './writers.ts';

export interface Lag {
  /** What came of the pace that was asked for. */
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
}

export interface LagParts {
  readonly table: string;
  readonly cached: CachedRows;
  readonly writers: Writers;
  readonly worker: Program;
}

/** Percentiles of `lagsMs`. */
export function lagOf(lagsMs: readonly number[], perSecond: number): Lag {
  const at = (share: number): number => percentile(lagsMs, share);
  return { perSecond, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99) };
}

/**
 * From the moment the writer is told that its transaction is committed to the moment Redis tells that the row's entry
 * is gone, both seen by one process on one clock: commit record, WAL sender, decoding, P, EVENT, and the way back.
 * `rows` are filled first, then changed once each, `pace` of them a second; `onBegin` is called between the two.
 */
export async function measureLag(
  { table, cached, writers, worker }: LagParts,
  rows: readonly number[],
  pace: number,
  onBegin: () => unknown = () => {},
): Promise<Lag> {
  await cached.fill(rows);
  const before = await settledChanges(worker, table);
  const acknowledged = new Map<number, number>();
  const dropped = new Map<number, number>();
  const stopWatching = await cached.watch(rows, (id, atMs) => dropped.set(id, atMs));
  try {
    await onBegin();
    const { perSecond } = await writers.paced(rows, pace, (id, atMs) => acknowledged.set(id, atMs));
    await until(`all ${rows.length} entries are fenced`, () => dropped.size === rows.length);
    await untilSettled(worker, table, before, rows.length);
    return lagOf(
      rows.map(id => dropped.get(id)! - acknowledged.get(id)!),
      perSecond,
    );
  } finally {
    stopWatching();
  }
}
