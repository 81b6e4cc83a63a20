import type { Outbox } from '../../shared/queue/outbox.ts';
import type { AfterSettled } from '../settled.ts';
import type { JobNeeds } from './needs.ts';

/** What a settled change makes desirable: state of a deleted row freed, a hot row's entry made anew. */
export const afterSettled =
  (
    outbox: Pick<Outbox, 'offer'>,
    { catalog, popularity }: Pick<JobNeeds, 'catalog' | 'popularity'>,
  ): AfterSettled =>
  row => {
    const xid = String(row.xid);
    if (row.gone) {
      outbox.offer('cleanup', { tag: row.tag, xid });
      return;
    }
    for (const resource of catalog().of(row.table)) {
      if (resource.rewarm === 'hot' && popularity.isHot(resource.name, row.tag)) {
        outbox.offer('rewarm', { resource: resource.name, tag: row.tag, xid });
      }
    }
  };
