import { expect } from '@jest/globals';
import { expectConverged, expectKept, startReads, type Tags, type Verdict } from './checked-reads.ts';
import { eventually } from './eventually.ts';
import type { History } from './history.ts';
import { untilProvenSince } from './proof.ts';
import type { Writes } from './versioned-rows.ts';
import type { ApiProcess } from './world.ts';

export interface Scene {
  readonly api: ApiProcess;
  readonly history: History;
  readonly tags: Tags;
  /**
   * What is read meanwhile; all unless given. What must be found stale afterwards if something was lost must not be
   * read before: a hit that is checked in the database mends the entry.
   */
  readonly reads?: readonly string[];
  startWrites(): Promise<Writes>;
}

/** Writes that must have been acknowledged while a fault was at work: otherwise the run says nothing. */
const LEAST_WRITES = 10;

/**
 * A fault while rows are written and read, and everything that is promised of it: no answer certainly staler than the
 * bound at any moment, and once the writes have stopped every path shows what was written last, by itself.
 */
export async function underTraffic(scene: Scene, fault: () => Promise<void>): Promise<Verdict> {
  const { api, history, tags } = scene;
  const writes = await scene.startWrites();
  const reads = startReads(api, history, tags, { paths: scene.reads });
  try {
    await eventually(
      'reads are answered by the cache',
      () => reads.judged.filter(({ cacheStatus }) => cacheStatus.startsWith('freshet; hit')).length,
      hits => hits > 20,
      40_000,
    );
    const before = writes.count;
    await fault();
    expect(writes.count - before).toBeGreaterThan(LEAST_WRITES);
  } finally {
    await writes.stop();
  }
  await untilProvenSince(api, performance.now());
  await expectConverged(api, history, tags);
  await reads.stop();
  return expectKept(reads.judged);
}
