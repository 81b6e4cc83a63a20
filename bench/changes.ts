import { withClient } from '../cli/local/database.ts';
import { openCachedRows } from './cached-rows.ts';
import { mediansOf } from './figures.ts';
import { startWorker } from './freshet.ts';
import { type Lag, type LagParts, measureLag } from './lag.ts';
import type { Bench } from './main.ts';
import { cpuMsOf } from './processes.ts';
import { number, table } from './report.ts';
import { settledChanges, untilSettled } from './worker-metrics.ts';
import { cities, openWriters } from './writers.ts';

/**
 * How fast changes reach the cache. The worker has the server's core; Postgres, Redis and the writers share the other.
 */

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
  readonly latency: Readonly<Record<string, Lag>>;
  readonly throughput: Readonly<Record<'absent' | 'present', Throughput>>;
}

interface Parts extends LagParts {
  readonly ids: readonly number[];
}

const PACES = [50, 1_000];
/** Below the number at which a whole table is put in doubt instead: every row gets its own EVENT. */
const ROWS_PER_TRANSACTION = 1_000;
const BULK_ROWS = 30_000;
/** Rows at the head of the key's order that a warm-up may fill. */
const WARMED_UP = 5_000;
/** Of the entries, those that must be as they were meant to be: a job of the worker's may touch a few meanwhile. */
const LEAST_SHARE = 0.95;

export async function benchChanges(bench: Bench): Promise<ChangesResult> {
  const { stores, cores, rounds, seconds, say } = bench;
  const bulkRows = bench.rows ?? BULK_ROWS;
  const ids = await cityIds(stores.databaseUrl, Math.max(bulkRows, Math.ceil(Math.max(...PACES) * seconds)));
  const latencies = new Map<number, Lag[]>(PACES.map(pace => [pace, []]));
  const throughputs: Record<'absent' | 'present', Throughput[]> = { absent: [], present: [] };
  for (let round = 0; round < rounds; round += 1) {
    const worker = await startWorker(stores, { serverCores: cores });
    const cached = await openCachedRows(stores, cities.table);
    const writers = await openWriters(stores.databaseUrl);
    const parts = { table: cities.table, cached, writers, worker, ids };
    const head = `round ${round + 1}/${rounds}`;
    try {
      for (const pace of PACES) {
        const found = await measureLag(parts, ids.slice(0, Math.ceil(pace * seconds)), pace);
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
    latency: Object.fromEntries(PACES.map(pace => [pace, mediansOf<Lag>(latencies.get(pace)!)] as const)),
    throughput: { absent: mediansOf(throughputs.absent), present: mediansOf(throughputs.present) },
  };
}

/** Transactions of many rows as fast as Postgres takes them; the worker's own count says when all are settled. */
async function measureThroughput(
  { table: name, cached, writers, worker, ids }: Parts,
  entries: 'absent' | 'present',
  count: number,
): Promise<Throughput> {
  const rows = ids.slice(0, count);
  if (entries === 'present') await cached.fill(rows);
  const before = await settledChanges(worker, name);
  const cpuBefore = cpuMsOf(worker.pid);
  const startMs = performance.now();
  await writers.bulk(rows, ROWS_PER_TRANSACTION);
  const committedMs = performance.now();
  const after = await untilSettled(worker, name, before, count);
  const settledMs = performance.now();
  const outcome = entries === 'present' ? 'applied' : 'absent';
  const meant = (after.get(outcome) ?? 0) - (before.get(outcome) ?? 0);
  if (meant < count * LEAST_SHARE)
    throw new Error(`${meant} of ${count} changes met entries that were ${entries}`);
  return {
    rows: count,
    perSecond: (count / (settledMs - startMs)) * 1e3,
    behindMs: settledMs - committedMs,
    cpuUs: cpuBefore === null ? Number.NaN : ((cpuMsOf(worker.pid)! - cpuBefore) * 1e3) / count,
  };
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
