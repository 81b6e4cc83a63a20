import { eventually } from './eventually.ts';
import type { TestProcess } from './world.ts';

/** Partitions that a worker took over last, by its own log; none while it stands by. */
export function shareOf(worker: TestProcess): number[] {
  const line = worker
    .log()
    .split('\n')
    .findLast(one => /"event":"feed\.(connected|standby)"/.test(one));
  const { position = '' } = (line ? JSON.parse(line) : {}) as { position?: string };
  return position === '' ? [] : position.split(' ').map(place => Number(place.split('@')[0]));
}

/** Waits until these workers, and nobody else, share all partitions: every one has some, and none has two. */
export const untilShared = (workers: readonly TestProcess[], partitions: number): Promise<unknown> =>
  eventually(
    `${workers.length} workers share ${partitions} partitions`,
    () => workers.map(shareOf),
    shares =>
      shares.every(({ length }) => length > 0) &&
      shares.flat().length === partitions &&
      new Set(shares.flat()).size === partitions,
    30_000,
  );

/** Who has the first partition, and the others. */
export function rolesOf(workers: readonly TestProcess[]): { leader: TestProcess; members: TestProcess[] } {
  const leader = workers.find(worker => shareOf(worker).includes(0));
  if (!leader) throw new Error(`nobody leads: ${JSON.stringify(workers.map(shareOf))}`);
  return { leader, members: workers.filter(worker => worker !== leader) };
}
