import { expect } from '@jest/globals';
import type { ProcessRecord } from '../../shared/cache/store.ts';
import type { GapCause } from '../../shared/observe.ts';
import { eventually } from './eventually.ts';
import { type HeldTransaction, holdTransaction } from './held-transaction.ts';
import type { ApiProcess, HttpAnswer, TestProcess, World } from './world.ts';

/** Read again and again until the cache itself answers, in mode FRESH. */
export const warm = (api: ApiProcess, path: string): Promise<HttpAnswer> =>
  eventually(
    `${path} is a hit`,
    () => api.get(path),
    answer => answer.headers['cache-status'] === 'freshet; hit',
  );

/** Empty while there is none. */
export const epochOf = async (world: World): Promise<string> => (await world.store.control())?.epoch ?? '';

/** Writers of beats that a position remembers, each with the number of its last settled one; the newest stands last. */
export const beatsOf = (position: Readonly<Record<string, string>> | null): [string, number][] =>
  JSON.parse(position?.beats ?? '[]') as [string, number][];

const isWaiting =
  (cause: GapCause, pid: number) =>
  ({ role, gap, waitingFor }: ProcessRecord): boolean =>
    role === 'worker' && gap === cause && (waitingFor ?? []).some(blocker => blocker.pid === pid);

export interface GapCourse {
  readonly world: World;
  readonly api: ApiProcess;
  /** A path that is a hit before the gap. */
  readonly path: string;
  readonly cause: GapCause;
  /** Makes the gap; resolves when it is there to be noticed. Starting a worker may go on behind it. */
  readonly provoke: () => Promise<unknown>;
  /** What `path` answers afterwards; as before unless given. */
  readonly body?: string;
  /** While the barrier waits. */
  readonly whileWaiting?: (held: HeldTransaction) => Promise<void>;
}

/**
 * The whole course of a gap, held up at its barrier by somebody's open transaction: a new epoch at once, another
 * one only when that transaction has ended, no proof before, and no entry made before either epoch served.
 */
export async function followGap(course: GapCourse): Promise<void> {
  const { world, api, path, cause, provoke, whileWaiting } = course;
  const cached = await warm(api, path);
  const body = course.body ?? cached.body;
  const before = await epochOf(world);
  const held = await holdTransaction(world.database.url);

  try {
    await provoke();
    await eventually(
      `status names process ${held.pid}, gap ${cause}`,
      () => world.store.processes(),
      records => records.some(isWaiting(cause, held.pid)),
    );
    const first = await epochOf(world);
    expect(first).not.toBe(before);
    await isNotProven(api);
    const early = await api.get(path);
    expect(early.headers['cache-status']).toMatch(/fwd=(uri-miss|stale)/);
    expect(early.body).toBe(body);
    await whileWaiting?.(held);
    expect(await epochOf(world)).toBe(first);
    expect((await api.get('/health/ready')).body).not.toContain('FRESH');

    await held.commit();
    await eventually(
      'another epoch behind the barrier',
      () => epochOf(world),
      epoch => epoch !== first,
    );
    expect(await epochOf(world)).not.toBe(before);
    const late = await api.get(path);
    expect(late.headers['cache-status']).toMatch(/fwd=(uri-miss|stale)/);
    expect(late.body).toBe(body);
    await world.fresh(api);
    expect((await warm(api, path)).body).toBe(body);
  } finally {
    await held.end();
  }
}

/** The proof of before has run out, and no other has come. */
export const isNotProven = (api: ApiProcess): Promise<HttpAnswer> =>
  eventually(
    'the API is not FRESH',
    () => api.get('/health/ready'),
    answer => !answer.body.includes('FRESH'),
    5_000,
  );

/** Gaps that a worker says it has closed, by cause. */
export const gapsClosed = (worker: TestProcess): string[] => causesOf(worker, 'gap.closed');

/** Gaps that a worker has told of, by cause, each time it told. */
export const gapsOpened = (worker: TestProcess): string[] => causesOf(worker, 'gap.opened');

const causesOf = (worker: TestProcess, event: 'gap.closed' | 'gap.opened'): string[] =>
  worker
    .log()
    .split('\n')
    .filter(line => line.includes(`"event":"${event}"`))
    .map(line => (JSON.parse(line) as { cause: string }).cause);
