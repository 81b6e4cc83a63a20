import type { CachedRows } from './cached-rows.ts';
import type { Followed } from './followed.ts';
import type { LagParts } from './lag.ts';
import type { Program } from './processes.ts';
import { until } from './until.ts';
import type { Writers } from './writers.ts';

/** What one contender is measured with, from its start to its end. */
export interface Turn extends LagParts {
  readonly followed: Followed;
  /** Rows that are written to. */
  readonly ids: readonly number[];
  /** One row for each partition, of a table that is written to last. */
  readonly endIds: readonly number[];
  readonly endCached: CachedRows;
  readonly endWriters: Writers;
  readonly logFolder: string;
  /** Starts the worker again; `name` is its profile's. */
  start(name: string): Promise<Program>;
}

export interface End {
  /** Writes the last changes; see `reached`. */
  write(): Promise<void>;
  /** When their fences were seen: all that was committed before has been settled by then. Writes them if need be. */
  reached(): Promise<number>;
  readonly hasCome: boolean;
}

const WITHIN_MS = 600_000;

/**
 * Changes that are written last, one a partition, watched like any other by the entries that they take away. A worker
 * goes through a partition in its order, and what was committed before is visible to the P that it asks for them. So
 * nobody has to ask the worker, whose processor time counts.
 */
export async function untilEnd({ endIds, endCached, endWriters }: Turn): Promise<End> {
  await endCached.fill(endIds);
  const dropped = new Map<number, number>();
  const stopWatching = await endCached.watch(endIds, (id, atMs) => dropped.set(id, atMs));
  let isWritten = false;
  const write = async (): Promise<void> => {
    isWritten = true;
    await endWriters.bulk(endIds, endIds.length);
  };
  return {
    write,
    async reached() {
      try {
        if (!isWritten) await write();
        await until('the last changes are fenced', () => dropped.size === endIds.length, WITHIN_MS);
        return Math.max(...dropped.values());
      } finally {
        stopWatching();
      }
    },
    get hasCome() {
      return dropped.size === endIds.length;
    },
  };
}
