import { existingRows } from '../../shared/origin/row-keys.ts';
import type { Handler } from '../../shared/queue/queues.ts';
import { parseRowTag } from '../../shared/resources/keys.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { JobNeeds } from './needs.ts';

/** How often the fleet looks for what no cleanup has freed. */
export const sweepEveryMs = 5 * 60_000;
const rowsPerBatch = 500;

/** Frees popularity and records of rows that no longer exist: of deletes whose cleanup was dropped or came too early. */
export const sweep =
  (needs: JobNeeds): Handler<'sweep'> =>
  async (_payload, run) => {
    let freed = 0;
    let looked = 0;
    for (const resource of needs.catalog().resources.values()) {
      for await (const tags of needs.popularity.remembered(resource.name, rowsPerBatch)) {
        run.signal.throwIfAborted();
        freed += await freeMissing(needs, resource, tags);
        looked += tags.length;
      }
    }
    needs.observer.emit({ type: 'cleanup.swept', freed, looked });
    return freed > 0 ? 'freed' : 'nothing-to-free';
  };

async function freeMissing(needs: JobNeeds, resource: Resource, tags: readonly string[]): Promise<number> {
  const existing = await existingRows(
    needs.pool,
    resource.table,
    tags.map(tag => parseRowTag(tag).key),
  );
  const missing = tags.filter(tag => !existing.has(tag));
  for (const tag of missing) await needs.store.deleteRecord(tag);
  return needs.popularity.forget(resource.name, missing);
}
