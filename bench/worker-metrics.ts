import { textOf } from './freshet.ts';
import type { Program } from './processes.ts';
import { until } from './until.ts';

/** Settled changes of one table by outcome. */
export type Counts = ReadonlyMap<string, number>;

/** Where the time of changes went, as sums: what came later minus what came earlier gives the mean of the changes between. */
export type Stages = ReadonlyMap<string, { readonly seconds: number; readonly changes: number }>;

export const total = (counts: Counts): number => counts.values().reduce((a, b) => a + b, 0);

const pageOf = (worker: Program): Promise<string> => textOf(`${worker.ready.metrics}/metrics`);

/** Samples of one family: labels as they stand there, and value. */
const samplesOf = (page: string, family: string): [labels: string, value: number][] =>
  [...page.matchAll(new RegExp(`^${family}\\{(.*?)\\} (\\S+)`, 'gm'))].map(([, labels, value]) => [
    labels!,
    Number(value),
  ]);

const labelOf = (labels: string, name: string): string =>
  new RegExp(`\\b${name}="(\\w+)"`).exec(labels)?.[1] ?? '';

export async function settledChanges(worker: Program, table: string): Promise<Counts> {
  const counts = new Map<string, number>();
  for (const [labels, value] of samplesOf(await pageOf(worker), 'freshet_change_events_total')) {
    if (labelOf(labels, 'table') !== table) continue;
    const outcome = labelOf(labels, 'outcome');
    counts.set(outcome, (counts.get(outcome) ?? 0) + value);
  }
  return counts;
}

/** Waits for `count` more settled changes of a table than `before`. */
export async function untilSettled(
  worker: Program,
  table: string,
  before: Counts,
  count: number,
): Promise<Counts> {
  let now = before;
  await until(`${count} changes of ${table} are settled`, async () => {
    now = await settledChanges(worker, table);
    return total(now) - total(before) >= count;
  });
  return now;
}

export async function stagesOf(worker: Program): Promise<Stages> {
  const page = await pageOf(worker);
  const family = 'freshet_change_stage_duration_seconds';
  const changes = new Map(
    samplesOf(page, `${family}_count`).map(([labels, value]) => [labelOf(labels, 'stage'), value]),
  );
  return new Map(
    samplesOf(page, `${family}_sum`).map(([labels, seconds]) => {
      const stage = labelOf(labels, 'stage');
      return [stage, { seconds, changes: changes.get(stage) ?? 0 }];
    }),
  );
}

/** Mean time of a stage between two looks, in milliseconds; NaN where nothing went through it. */
export function meanMs(stage: string, before: Stages, after: Stages): number {
  const then = before.get(stage) ?? { seconds: 0, changes: 0 };
  const now = after.get(stage) ?? then;
  return ((now.seconds - then.seconds) * 1e3) / (now.changes - then.changes);
}

/** New epochs since the worker was started: each would mean that changes were given up instead of followed. */
export async function epochsBegun(worker: Program): Promise<number> {
  const samples = samplesOf(await pageOf(worker), 'freshet_epoch_bumps_total');
  return samples.reduce((sum, [, value]) => sum + value, 0);
}
