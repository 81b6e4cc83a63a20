import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { withClient } from '../cli/local/database.ts';
import { partitionOfKey } from '../connectors/kafka-client.ts';
import { DEFAULT_PARTITIONS } from '../connectors/topics.ts';
import { type BareLag, measureBareChain } from './bare-chain.ts';
import { openCachedRows } from './cached-rows.ts';
import { type CaughtUp, type Delivered, measureCatchUp } from './catch-up.ts';
import { startChain } from './chain.ts';
import { ends, orders } from './feeds-config.ts';
import { mediansOf } from './figures.ts';
import { type Followed, followByKafka, followByWal } from './followed.ts';
import { startWorker } from './freshet.ts';
import { type Lag, measureLag } from './lag.ts';
import type { Bench } from './main.ts';
import { meter, shareOf, usARow } from './meter.ts';
import type { Program } from './processes.ts';
import { number } from './report.ts';
import type { Stores } from './stores.ts';
import { type Turn, untilEnd } from './turn.ts';
import { meanMs, settledChanges, stagesOf, untilSettled } from './worker-metrics.ts';
import { openWriters } from './writers.ts';

/**
 * Both feeds beside each other: the same writers, the same rows, the same worker, one after the other, and who comes
 * first moves on with every round. Nothing is tied to a core: the Kafka chain needs both.
 */

export interface FeedLag extends Lag {
  /** Shares of one core. */
  readonly workerShare: number;
  readonly connectShare: number;
  readonly brokerShare: number;
  /** Means, by the worker's own metrics: commit record → received → fence → settled. */
  readonly captureMs: number;
  readonly applyMs: number;
  readonly settleMs: number;
}

export interface Bulk {
  readonly rows: number;
  /** From the first commit until everything was settled. */
  readonly perSecond: number;
  /** From the last commit until everything was settled. */
  readonly behindMs: number;
  /** Processor time for one row. */
  readonly workerUs: number;
  readonly connectUs: number;
  readonly brokerUs: number;
}

export interface FeedsResult {
  readonly versions: string;
  /** By contender and pace, `kafka 1000`. */
  readonly lags: Readonly<Record<string, FeedLag>>;
  readonly bare: Readonly<Record<string, BareLag>>;
  /** By contender and rows a transaction, `kafka 1000`; `all`: one UPDATE. */
  readonly bulks: Readonly<Record<string, Bulk>>;
  /** What Debezium brings into the topic while nobody reads it. */
  readonly delivered: Delivered;
  /** By who catches up: a worker with this feed, or a consumer that does nothing else. */
  readonly caughtUp: Readonly<Record<string, CaughtUp>>;
}

interface Contender {
  readonly name: string;
  /** Commits a second. */
  readonly paces: readonly number[];
  readonly isMeasuredInFull: boolean;
  /** Of the connector; null: no connector. */
  readonly settings: Readonly<Record<string, string>> | null;
}

export const SLOW = 50;
export const FAST = 1_000;
export const contenders: readonly Contender[] = [
  { name: 'wal', paces: [SLOW, FAST], isMeasuredInFull: true, settings: null },
  { name: 'kafka', paces: [SLOW, FAST], isMeasuredInFull: true, settings: {} },
  {
    name: 'defaults',
    paces: [SLOW],
    isMeasuredInFull: false,
    // What Debezium and Kafka's producer do unless told otherwise.
    settings: { 'poll.interval.ms': '500', 'producer.override.linger.ms': '5' },
  },
];

export const ROWS_PER_TRANSACTION = 1_000;
const ROWS = 200_000;
/** Written before anything is measured: the JVMs have not compiled much yet. */
const WARM_UP_ROWS = 20_000;
/** Enough that every partition has one of them. */
const END_ROWS = 1_000;
const config = fileURLToPath(new URL('./feeds-config.ts', import.meta.url));

export async function benchFeeds(bench: Bench): Promise<FeedsResult> {
  const { stores, rounds, say } = bench;
  const rows = bench.rows ?? ROWS;
  const ids = Array.from({ length: Math.max(rows, FAST * bench.seconds) }, (_, i) => 1 + i);
  await makeTables(stores, ids.at(-1)!);
  const chain = await startChain(stores, say);

  const lags = new Samples<FeedLag>();
  const bare = new Samples<BareLag>();
  const bulks = new Samples<Bulk>();
  const delivered = new Samples<Delivered>();
  const caughtUp = new Samples<CaughtUp>();

  for (let round = 0; round < rounds; round += 1) {
    for (let place = 0; place < contenders.length; place += 1) {
      const { name, paces, isMeasuredInFull, settings } = contenders[(place + round) % contenders.length]!;
      const namespace = `${name}_${round}`;
      const followed =
        settings === null
          ? followByWal(stores, namespace)
          : await followByKafka(stores, chain, namespace, settings);
      const told = (line: string): void => say(`round ${round + 1}/${rounds}  ${name}: ${line}`);
      await inTurn(bench, followed, ids, async turn => {
        await measureBulk(turn, ids.slice(0, Math.min(rows, WARM_UP_ROWS)), ROWS_PER_TRANSACTION);
        for (const pace of paces) {
          const lag = lags.add(`${name} ${pace}`, await measurePace(turn, pace, bench.seconds));
          told(`${pace} commits/s, fence after p50 ${ms(lag.p50Ms)}, p99 ${ms(lag.p99Ms)}`);
        }
        if (!isMeasuredInFull) return;
        const some = ids.slice(0, rows);
        for (const [kind, rowsPerTransaction] of bulkKinds(rows)) {
          const bulk = bulks.add(`${name} ${kind}`, await measureBulk(turn, some, rowsPerTransaction));
          told(`${number(rowsPerTransaction)} rows a transaction, ${number(bulk.perSecond)} rows/s`);
        }
        const found = await measureCatchUp(turn, some, ROWS_PER_TRANSACTION);
        caughtUp.add(name, found.worker);
        told(`catching up, ${number(found.worker.perSecond)} rows/s`);
        if (found.delivered) delivered.add(name, found.delivered);
        if (found.consumer) caughtUp.add('consumer', found.consumer);
        if (!followed.kafka) return;
        for (const pace of paces) {
          const lag = bare.add(`${pace}`, await measureBareChain(turn, pace, bench.seconds));
          told(`${pace} commits/s, a bare consumer has it after p50 ${ms(lag.p50Ms)}, p99 ${ms(lag.p99Ms)}`);
        }
      });
    }
  }
  return {
    versions: chain.versions,
    lags: lags.medians(),
    bare: bare.medians(),
    bulks: bulks.medians(),
    delivered: delivered.medians().kafka!,
    caughtUp: caughtUp.medians(),
  };
}

const bulkKinds = (rows: number) =>
  [
    ['all', rows],
    [String(ROWS_PER_TRANSACTION), ROWS_PER_TRANSACTION],
  ] as const;
const ms = (value: number): string => `${value.toFixed(1)} ms`;

/** What was found in each round, by what was measured. */
class Samples<T extends object> {
  readonly #found = new Map<string, T[]>();

  add(name: string, one: T): T {
    this.#found.set(name, [...(this.#found.get(name) ?? []), one]);
    return one;
  }

  medians(): Record<string, T> {
    return Object.fromEntries([...this.#found].map(([name, all]) => [name, mediansOf(all)]));
  }
}

async function makeTables(stores: Stores, rows: number): Promise<void> {
  await withClient(stores.databaseUrl, async client => {
    await client.query(`
      create table ${orders.table} (
        id integer primary key,
        customer integer not null,
        status text not null,
        total numeric(12, 2) not null,
        placed timestamptz not null
      ) with (autovacuum_enabled = off);
      create table ${ends.table} (id integer primary key, number integer not null);
    `);
    await client.query(
      `insert into ${orders.table}
       select i, i % 5000, (array['new', 'paid', 'sent'])[1 + i % 3], i % 997, now() - i * interval '1 minute'
       from generate_series(1, $1::int) i`,
      [rows],
    );
    await client.query(`insert into ${ends.table} select i, 0 from generate_series(1, $1::int) i`, [
      END_ROWS,
    ]);
  });
}

/** One row of the last table for each partition. */
function endIds(): number[] {
  const found = new Map<number, number>();
  for (let id = 1; found.size < DEFAULT_PARTITIONS; id += 1) {
    const partition = partitionOfKey(Buffer.from(JSON.stringify({ id })), DEFAULT_PARTITIONS);
    if (!found.has(partition)) found.set(partition, id);
  }
  return [...found.values()];
}

/** Opens what a turn needs, and leaves nothing of it behind: neither slots, nor entries, nor jobs. */
async function inTurn(
  { stores }: Bench,
  followed: Followed,
  ids: readonly number[],
  work: (turn: Turn) => Promise<void>,
): Promise<void> {
  const { namespace, env } = followed;
  const closing: (() => Promise<unknown>)[] = [() => followed.takeAway(), () => emptyRedis(stores)];
  let worker: Program | null = null;
  closing.push(async () => worker?.stop());
  try {
    await withClient(stores.databaseUrl, client => client.query(`vacuum ${orders.table}`));
    const start = async (name: string): Promise<Program> => {
      worker = await startWorker(stores, {
        env: { ...env, FRESHET_CONFIG: config },
        name: `${name}-${followed.namespace}`,
      });
      return worker;
    };
    const opened = async <T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> => {
      const one = await opening;
      closing.push(() => one.close());
      return one;
    };
    await start('worker');
    await work({
      followed,
      ids,
      table: orders.table,
      cached: await opened(openCachedRows(stores, orders.table, namespace)),
      writers: await opened(openWriters(stores.databaseUrl, orders)),
      endIds: endIds(),
      endCached: await opened(openCachedRows(stores, ends.table, namespace)),
      endWriters: await opened(openWriters(stores.databaseUrl, ends)),
      logFolder: stores.folder,
      get worker() {
        return worker!;
      },
      start,
    });
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

async function emptyRedis({ cacheUrl, queueUrl }: Stores): Promise<void> {
  for (const url of [cacheUrl, queueUrl]) {
    const redis = new Redis(url);
    await redis.flushall();
    redis.disconnect();
  }
}

async function measurePace(turn: Turn, pace: number, seconds: number): Promise<FeedLag> {
  const { worker, followed, ids } = turn;
  const before = await stagesOf(worker);
  let read = meter({});
  const lag = await measureLag(turn, ids.slice(0, Math.ceil(pace * seconds)), pace, () => {
    read = meter({ worker: worker.pid, ...followed.kafka?.pids });
  });
  const used = read();
  const after = await stagesOf(worker);
  return {
    ...lag,
    workerShare: shareOf(used, 'worker'),
    connectShare: shareOf(used, 'connect'),
    brokerShare: shareOf(used, 'broker'),
    captureMs: meanMs('capture', before, after),
    applyMs: meanMs('apply', before, after),
    settleMs: meanMs('settle', before, after),
  };
}

async function measureBulk(turn: Turn, rows: readonly number[], rowsPerTransaction: number): Promise<Bulk> {
  const { worker, writers, table, followed } = turn;
  const before = await settledChanges(worker, table);
  const end = await untilEnd(turn);
  const read = meter({ worker: worker.pid, ...followed.kafka?.pids });
  const { firstMs, lastMs } = await writers.bulk(rows, rowsPerTransaction);
  const settledMs = await end.reached();
  const used = read();
  // Rows of a larger transaction are put together, and not counted one by one.
  if (rowsPerTransaction <= ROWS_PER_TRANSACTION) await untilSettled(worker, table, before, rows.length);
  return {
    rows: rows.length,
    perSecond: (rows.length / (settledMs - firstMs)) * 1e3,
    behindMs: settledMs - lastMs,
    workerUs: usARow(used, 'worker', rows.length),
    connectUs: usARow(used, 'connect', rows.length),
    brokerUs: usARow(used, 'broker', rows.length),
  };
}
