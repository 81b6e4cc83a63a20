import { join } from 'node:path';
import type { KafkaAdmin } from '../connectors/kafka-client.ts';
import type { Drained, DrainJob } from './bare-consumer.ts';
import type { KafkaSide } from './followed.ts';
import { meter, usARow } from './meter.ts';
import { order, startProgram } from './processes.ts';
import { type End, type Turn, untilEnd } from './turn.ts';
import { until } from './until.ts';
import { epochsBegun, settledChanges, total } from './worker-metrics.ts';

/** What comes out of the connector while nobody is in its way. */
export interface Delivered {
  /** From the first commit until all lay in the topic. */
  readonly perSecond: number;
  readonly connectUs: number;
  readonly brokerUs: number;
}

/** What a consumer gets through when everything is there already. */
export interface CaughtUp {
  readonly perSecond: number;
  readonly cpuUs: number;
  /** To what the connector delivered just before; NaN where there is none. */
  readonly ratio: number;
}

export interface CatchUp {
  readonly worker: CaughtUp;
  readonly delivered: Delivered | null;
  readonly consumer: CaughtUp | null;
}

const WITHIN_MS = 600_000;
/** Of the rows; most of the code is compiled by then. */
const WARM_SHARE = 0.2;

/** The worker is away while rows are written, and starts again when all of them are there for it. */
export async function measureCatchUp(
  turn: Turn,
  rows: readonly number[],
  rowsPerTransaction: number,
): Promise<CatchUp> {
  const { kafka } = turn.followed;
  const end = await untilEnd(turn);
  await turn.worker.stop();
  const from = kafka && (await endsOf(kafka));
  const read = meter({ ...kafka?.pids });
  const { firstMs } = await turn.writers.bulk(rows, rowsPerTransaction);
  await end.write();
  if (!kafka || !from) {
    const worker = await measureWorker(turn, rows.length, end, Number.NaN);
    return { worker, delivered: null, consumer: null };
  }

  const records = rows.length + turn.endIds.length;
  await until(
    `${records} records lie in ${kafka.names.topic}`,
    async () => sum(await endsOf(kafka)) - sum(from) >= BigInt(records),
    WITHIN_MS,
  );
  const deliveredMs = performance.now();
  const used = read();
  const delivered = {
    perSecond: (rows.length / (deliveredMs - firstMs)) * 1e3,
    connectUs: usARow(used, 'connect', rows.length),
    brokerUs: usARow(used, 'broker', rows.length),
  };
  const consumer = await measureConsumer(turn, kafka, from, records, delivered.perSecond);
  const worker = await measureWorker(turn, rows.length, end, delivered.perSecond);
  return { worker, delivered, consumer };
}

type Ends = ReadonlyMap<number, bigint>;

/** Where each partition ends now. */
export async function endsOf({
  admin,
  names,
}: {
  admin: KafkaAdmin;
  names: KafkaSide['names'];
}): Promise<Ends> {
  const ranges = await admin.ranges(names.topic);
  return new Map([...ranges].map(([partition, { latest }]) => [partition, latest]));
}

const sum = (ends: Ends): bigint => ends.values().reduce((a, b) => a + b, 0n);

/**
 * Counted once a part of it is done: how fast a worker starts is another matter, and the connector, too, had run for a
 * while. Where the rows are so few that most is done by then, its start counts.
 */
async function measureWorker(
  turn: Turn,
  rows: number,
  end: End,
  deliveredPerSecond: number,
): Promise<CaughtUp> {
  const startMs = performance.now();
  const worker = await turn.start('catch-up');
  let done = 0;
  await until('it is under way', async () => {
    done = total(await settledChanges(worker, turn.table));
    return done >= rows * WARM_SHARE || end.hasCome;
  });
  const warmMs = performance.now();
  const readSince = meter({ worker: worker.pid });
  await until('it has caught up', () => end.hasCome, WITHIN_MS);
  const used = readSince();
  const settledMs = await end.reached();
  const gaps = await epochsBegun(worker);
  if (gaps > 0) throw new Error('the worker began a new epoch where it should have caught up');
  const isLate = done > rows / 2;
  const counted = isLate ? rows : rows - done;
  const perSecond = (counted / (settledMs - (isLate ? startMs : warmMs))) * 1e3;
  const cpuUs = isLate ? Number.NaN : usARow(used, 'worker', counted);
  return { perSecond, cpuUs, ratio: perSecond / deliveredPerSecond };
}

async function measureConsumer(
  { logFolder }: Turn,
  { brokers, names }: KafkaSide,
  from: Ends,
  records: number,
  deliveredPerSecond: number,
): Promise<CaughtUp> {
  const program = await startProgram({
    entry: 'bench/bare-consumer.ts',
    env: {},
    logFile: join(logFolder, 'consumer.log'),
  });
  try {
    const job: DrainJob = {
      kind: 'drain',
      brokers,
      topic: names.topic,
      group: `${names.group}-drain`,
      from: [...from].map(([partition, offset]) => [partition, String(offset)]),
      records,
    };
    const drained = await order<Drained>(program, job);
    const perSecond = (drained.records / drained.tookMs) * 1e3;
    const cpuUs = (drained.cpuMs * 1e3) / drained.records;
    return { perSecond, cpuUs, ratio: perSecond / deliveredPerSecond };
  } finally {
    await program.stop();
  }
}
