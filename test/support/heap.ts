import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { eventually } from './eventually.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes that this process keeps, buffers included, when everything that can go has gone. */
export function keptBytes(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** How many bytes more are kept after `work` than before. */
export async function heapGrowth(work: () => Promise<unknown>): Promise<number> {
  const before = keptBytes();
  await work();
  return keptBytes() - before;
}

/** Waits until `figure` has been the same for so long. */
export async function untilSteady(
  what: string,
  figure: () => unknown,
  steadyMs: number,
  timeoutMs: number,
): Promise<void> {
  let last: unknown;
  let sinceMs = performance.now();
  await eventually(
    `${what} is steady`,
    async () => {
      const now = await figure();
      if (now !== last) sinceMs = performance.now();
      last = now;
      return { now, forMs: performance.now() - sinceMs };
    },
    ({ forMs }) => forMs >= steadyMs,
    timeoutMs,
  );
}
