import { join } from 'node:path';
import type { Heard, HeardJob, ListenJob } from './bare-consumer.ts';
import { endsOf } from './catch-up.ts';
import { median, percentile } from './figures.ts';
import { type Lag, lagOf } from './lag.ts';
import { meter, shareOf } from './meter.ts';
import { order, startProgram } from './processes.ts';
import type { Turn } from './turn.ts';

/** Commit acknowledged → callback, and where that time goes. Negative where a step came before the acknowledgement. */
export interface BareLag extends Lag {
  /** Medians and 99th percentiles of the steps, one after the other. */
  readonly acknowledgedP50Ms: number;
  readonly decodedP50Ms: number;
  readonly decodedP99Ms: number;
  readonly sentP50Ms: number;
  readonly sentP99Ms: number;
  readonly calledP50Ms: number;
  readonly calledP99Ms: number;
  /** Shares of one core. */
  readonly consumerShare: number;
  readonly connectShare: number;
  readonly brokerShare: number;
}

let listeners = 0;

/** The worker is stopped for it, if it still runs. */
export async function measureBareChain(turn: Turn, pace: number, seconds: number): Promise<BareLag> {
  const kafka = turn.followed.kafka!;
  await turn.worker.stop();
  const program = await startProgram({
    entry: 'bench/bare-consumer.ts',
    env: {},
    logFile: join(turn.logFolder, 'consumer.log'),
  });
  try {
    const listen: ListenJob = {
      kind: 'listen',
      brokers: kafka.brokers,
      topic: kafka.names.topic,
      group: `${kafka.names.group}-bare-${listeners++}`,
      from: [...(await endsOf(kafka))].map(([partition, offset]) => [partition, String(offset)]),
    };
    await order<null>(program, listen);
    const rows = turn.ids.slice(0, Math.ceil(pace * seconds));
    const acknowledged = new Map<number, number>();
    const read = meter({ worker: program.pid, ...kafka.pids });
    const { perSecond } = await turn.writers.paced(rows, pace, (id, atMs) => acknowledged.set(id, atMs));
    const job: HeardJob = { kind: 'heard', table: turn.table, rows: rows.length };
    const heard = await order<readonly Heard[]>(program, job);
    const used = read();
    return {
      ...lagsOf(heard, acknowledged, perSecond),
      consumerShare: shareOf(used, 'worker'),
      connectShare: shareOf(used, 'connect'),
      brokerShare: shareOf(used, 'broker'),
    };
  } finally {
    await program.stop();
  }
}

function lagsOf(heard: readonly Heard[], acknowledged: ReadonlyMap<number, number>, perSecond: number) {
  // Monotonic clocks of processes of one machine agree; where each of them begins to count does not.
  const originMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();
  const lags = heard.map(({ id, monotonicMs }) => monotonicMs - originMs - acknowledged.get(id)!);
  const acknowledging = heard.map(
    ({ id, committedMs }) => performance.timeOrigin + acknowledged.get(id)! - committedMs,
  );
  const decoding = heard.map(({ decodedMs, committedMs }) => decodedMs - committedMs);
  const sending = heard.map(({ sentMs, decodedMs }) => sentMs - decodedMs);
  const calling = heard.map(({ calledMs, sentMs }) => calledMs - sentMs);
  return {
    ...lagOf(lags, perSecond),
    acknowledgedP50Ms: median(acknowledging),
    decodedP50Ms: median(decoding),
    decodedP99Ms: percentile(decoding, 0.99),
    sentP50Ms: median(sending),
    sentP99Ms: percentile(sending, 0.99),
    calledP50Ms: median(calling),
    calledP99Ms: percentile(calling, 0.99),
  };
}
