import { setTimeout as delay } from 'node:timers/promises';
import { withClient } from '../cli/local/database.ts';
import { type CachedRows, openCachedRows } from './cached-rows.ts';
import { median, percentile } from './figures.ts';
import { startWorker, textOf } from './freshet.ts';
import type { Bench } from './main.ts';
import { cpuMsOf, type Program } from './processes.ts';
import { number, table } from './report.ts';
import { openWriters, type Writers } from './writers.ts';

/**
 * How fast changes reach the cache. The worker has the server's core; Postgres, Redis and the writers share the other.
 */

interface Latency {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
}

interface Throughput {
  readonly rows: number;
  /** From the first statement until everything was settled. */
  readonly perSecond: number;
  /** From the last commit until everything was settled. */
  readonly behindMs: number;
  /** Processor time of the worker for one row; NaN where the system does not tell. */
  readonly cpuUs: number;
}

export interface ChangesResult {
  /** By the pace asked for, in commits a second. */
  readonly latency: Readonly<Record<string, Latency>>;
  readonly throughput: Readonly<Record<'absent' | 'present', Throughput>>;
}

interface Parts {
  readonly cached: CachedRows;
  readonly writers: Writers;
  readonly worker: Program;
  readonly ids: readonly number[];
}

const PACES = [50, 1_000];
/** Below the number at which a whole table is put in doubt instead: every row gets its own EVENT. */
const ROWS_PER_TRANSACTION = 1_000;
const BULK_ROWS = 30_000;
/** Rows at the head of the key's order that a warm-up may fill. */
const WARMED_UP = 5_000;
const WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

export async function benchChanges(bench: Bench): Promise<ChangesResult> {
  const { stores, cores, rounds, seconds, say } = bench;
  const bulkRows = bench.rows ?? BULK_ROWS;
  const ids = await cityIds(stores.databaseUrl, Math.max(bulkRows, Math.ceil(Math.max(...PACES) * seconds)));
  const latencies = new Map<number, Latency[]>(PACES.map(pace => [pace, []]));
  const throughputs: Record<'absent' | 'present', Throughput[]> = { absent: [], present: [] };
  for (let round = 0; round < rounds; round += 1) {
    const worker = await startWorker(stores, cores);
    const cached = await openCachedRows(stores);
    const writers = await openWriters(stores.databaseUrl);
    const parts = { cached, writers, worker, ids };
    const head = `round ${round + 1}/${rounds}`;
    try {
      for (const pace of PACES) {
        const found = await measureLatency(parts, pace, seconds);
        latencies.get(pace)!.push(found);
        say(
          `${head}  ${pace} commits/s: fence after p50 ${ms(found.p50Ms)}, p90 ${ms(found.p90Ms)}, p99 ${ms(found.p99Ms)}`,
        );
      }
      for (const entries of ['absent', 'present'] as const) {
        const found = await measureThroughput(parts, entries, bulkRows);
        throughputs[entries].push(found);
        say(
          `${head}  entries ${entries}: ${number(found.perSecond)} rows/s, settled ${number(found.behindMs)} ms after the last commit`,
        );
      }
    } finally {
      await writers.close();
      await cached.close();
      await worker.stop();
    }
  }
  return {
    latency: Object.fromEntries(PACES.map(pace => [pace, mediansOf<Latency>(latencies.get(pace)!)] as const)),
    throughput: { absent: mediansOf(throughputs.absent), present: mediansOf(throughputs.present) },
  };
}

/**
 * From the moment the writer is told that its transaction is committed to the moment Redis tells that the row's entry
 * is gone, both seen by one process on one clock: commit record, WAL sender, decoding, P, EVENT, and the way back.
 */
async function measureLatency(
  { cached, writers, worker, ids }: Parts,
  pace: number,
  seconds: number,
): Promise<Latency> {
  const rows = ids.slice(0, Math.ceil(pace * seconds));
  await cached.fill(rows);
  const before = await eventCounts(worker);
  const acknowledged = new Map<number, number>();
  const dropped = new Map<number, number>();
  const stopWatching = await cached.watch(rows, (id, atMs) => dropped.set(id, atMs));
  try {
    const { perSecond } = await writers.paced(rows, pace, (id, atMs) => acknowledged.set(id, atMs));
    await until(`all ${rows.length} entries are fenced`, () => dropped.size === rows.length);
    await untilSettled(worker, before, rows.length);
    const lags = rows.map(id => dropped.get(id)! - acknowledged.get(id)!);
    const at = (share: number): number => percentile(lags, share);
    return { perSecond, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99) };
  } finally {
    stopWatching();
  }
}

/** Transactions of many rows as fast as Postgres takes them; the worker's own count says when all are settled. */
async function measureThroughput(
  { cached, writers, worker, ids }: Parts,
  entries: 'absent' | 'present',
  count: number,
): Promise<Throughput> {
  const rows = ids.slice(0, count);
  if (entries === 'present') await cached.fill(rows);
  const before = await eventCounts(worker);
  const cpuBefore = cpuMsOf(worker.pid);
  const startMs = performance.now();
  await writers.bulk(rows, ROWS_PER_TRANSACTION);
  const committedMs = performance.now();
  const after = await untilSettled(worker, before, count);
  const settledMs = performance.now();
  const outcome = entries === 'present' ? 'applied' : 'absent';
  const meant = (after.get(outcome) ?? 0) - (before.get(outcome) ?? 0);
  if (meant < count) throw new Error(`${meant} of ${count} changes met entries that were ${entries}`);
  return {
    rows: count,
    perSecond: (count / (settledMs - startMs)) * 1e3,
    behindMs: settledMs - committedMs,
    cpuUs: cpuBefore === null ? Number.NaN : ((cpuMsOf(worker.pid)! - cpuBefore) * 1e3) / count,
  };
}

/** Settled changes of the table by outcome, as the worker's metrics tell. */
async function eventCounts(worker: Program): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const page = await textOf(`${worker.ready.metrics}/metrics`);
  for (const [, labels, value] of page.matchAll(/^freshet_change_events_total\{(.*?)\} (\d+)/gm)) {
    if (!labels!.includes('table="cities"')) continue;
    const outcome = /outcome="(\w+)"/.exec(labels!)![1]!;
    counts.set(outcome, (counts.get(outcome) ?? 0) + Number(value));
  }
  return counts;
}

/** Waits for `count` more settled changes than `before`. */
async function untilSettled(
  worker: Program,
  before: ReadonlyMap<string, number>,
  count: number,
): Promise<ReadonlyMap<string, number>> {
  let now = before;
  await until(`${count} changes are settled`, async () => {
    now = await eventCounts(worker);
    return total(now) - total(before) >= count;
  });
  return now;
}

const total = (counts: ReadonlyMap<string, number>): number => counts.values().reduce((a, b) => a + b, 0);

async function until(what: string, accept: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + WITHIN_MS; !(await accept()); await delay(LOOK_EVERY_MS)) {
    if (performance.now() >= endMs) throw new Error(`${what}: not within ${WITHIN_MS} ms`);
  }
}

/** Cities that the worker's own warm-up, which goes by popularity or else by key, leaves alone. */
async function cityIds(databaseUrl: string, count: number): Promise<number[]> {
  const { rows } = await withClient(databaseUrl, client =>
    client.query(
      `select id from cities where id not in (select id from cities order by id limit $2)
       order by population, id desc limit $1`,
      [count, WARMED_UP],
    ),
  );
  if (rows.length < count) throw new RangeError(`there are ${rows.length} cities, ${count} are asked for`);
  return rows.map(({ id }) => id);
}

/** Every figure's own median. */
function mediansOf<T extends object>(results: readonly T[]): T {
  const names = Object.keys(results[0]!) as (keyof T)[];
  return Object.fromEntries(
    names.map(name => [name, median(results.map(result => Number(result[name])))]),
  ) as T;
}

const ms = (value: number): string => `${value.toFixed(1)} ms`;

export function reportChanges({ latency, throughput }: ChangesResult): string {
  const lags = Object.entries(latency).map(([pace, found]) => [
    `${number(Number(pace))} commits/s (came to ${number(found.perSecond)})`,
    found.p50Ms.toFixed(2),
    found.p90Ms.toFixed(2),
    found.p99Ms.toFixed(2),
  ]);
  const rates = Object.entries(throughput).map(([entries, found]) => [
    `entries ${entries}`,
    number(found.rows),
    number(found.perSecond),
    number(found.behindMs),
    Number.isFinite(found.cpuUs) ? found.cpuUs.toFixed(1) : '–',
  ]);
  return [
    table(['commit acknowledged → fence', 'p50 ms', 'p90 ms', 'p99 ms'], lags),
    table(
      [
        `changes, ${number(ROWS_PER_TRANSACTION)} rows a transaction`,
        'rows',
        'rows/s',
        'settled after ms',
        'CPU µs a row',
      ],
      rates,
    ),
  ].join('\n\n');
}
