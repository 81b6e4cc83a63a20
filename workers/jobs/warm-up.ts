import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { FreshetError } from '../../shared/errors.ts';
import type { FillResult } from '../../shared/fill/lease-and-fill.ts';
import { firstKeys } from '../../shared/origin/row-keys.ts';
import type { Handler, JobRun } from '../../shared/queue/queues.ts';
import { parseRowTag } from '../../shared/resources/keys.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { JobNeeds } from './needs.ts';

/** Rows under way at once, and rows a second: readers come first, at the database and at the cache. */
const rowsAtOnce = 4;
const rowsPerSecond = 1_000;
/** Rows between two reports; what a stopped warm-up may do twice. */
const reportEvery = 100;

const savedProgress = z.object({ done: z.int().nonnegative() });

/**
 * Fills the cache with the rows of a resource that were read most before the restart; where nothing is remembered,
 * with the first ones by key. Rows that are cached already cost one look. An interrupted warm-up goes on where it
 * was: a row that became hotter since, and so moved to the part already done, is being read anyway.
 */
export const warmUp =
  (needs: JobNeeds): Handler<'warm-up'> =>
  async ({ resource: name }, run) => {
    const resource = needs.catalog().resources.get(name);
    if (!resource) return 'no-such-resource';
    const keys = await keysToWarm(needs, resource);
    let done = Math.min(savedProgress.safeParse(run.progress).data?.done ?? 0, keys.length);
    while (done < keys.length) {
      run.signal.throwIfAborted();
      const next = keys.slice(done, done + rowsAtOnce);
      const [filled] = await Promise.all([
        Promise.all(next.map(key => needs.filler.fill(resource, key, {}))),
        pause((next.length * 1_000) / rowsPerSecond),
      ]);
      if (filled.some(isNotCacheable)) return notCacheable(name, run);
      done += next.length;
      if (done % reportEvery < rowsAtOnce || done === keys.length)
        await report(needs, run, name, done, keys.length);
    }
    return keys.length > 0 ? 'warmed' : 'nothing-to-warm';
  };

const isNotCacheable = (result: FillResult): boolean =>
  result.status === 'refused' && result.reason === 'not_cacheable';

/** At a start the table may only be about to become cacheable: worth waiting for, not worth a dead job. */
function notCacheable(resource: string, run: JobRun): string {
  if (run.isLast) return 'not_cacheable';
  throw new FreshetError({
    code: 'not-cacheable-yet',
    message: `rows of "${resource}" cannot be cached now`,
    hint: 'The worker makes a table cacheable when its feed has started; the warm-up is tried again.',
    retryable: true,
  });
}

async function report(
  { observer }: JobNeeds,
  run: JobRun,
  resource: string,
  done: number,
  total: number,
): Promise<void> {
  await run.saveProgress({ done, total });
  observer.emit({ type: 'warm-up.progress', resource, done, total });
}

async function keysToWarm(
  { popularity, pool }: JobNeeds,
  resource: Resource,
): Promise<readonly (readonly string[])[]> {
  const { name, table, warmUpTop } = resource;
  const popular = await popularity.top(name, warmUpTop);
  return popular.length > 0 ? popular.map(tag => parseRowTag(tag).key) : firstKeys(pool, table, warmUpTop);
}
