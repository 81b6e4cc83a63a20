import { existingRows } from '../../shared/origin/row-keys.ts';
import type { Handler } from '../../shared/queue/queues.ts';
import { parseRowTag } from '../../shared/resources/keys.ts';
import type { JobNeeds } from './needs.ts';

/**
 * A row was deleted: its record and its popularity are freed, unless the row is there (again). Freeing a record
 * is no more than an eviction, so it is safe at any time; what a late reader counts once more, a sweep finds.
 */
export const cleanup =
  ({ store, catalog, popularity, pool }: JobNeeds): Handler<'cleanup'> =>
  async ({ tag }) => {
    const { table: name, key } = parseRowTag(tag);
    const table = catalog().tables.get(name);
    if (!table) return 'no-such-table';
    const existing = await existingRows(pool, table, [key]);
    if (existing.has(tag)) return 'there-again';
    await store.deleteRecord(tag);
    for (const resource of catalog().of(name)) await popularity.forget(resource.name, [tag]);
    return 'freed';
  };
