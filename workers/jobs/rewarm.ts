import { FreshetError } from '../../shared/errors.ts';
import type { Handler } from '../../shared/queue/queues.ts';
import { parseRowTag } from '../../shared/resources/keys.ts';
import type { JobNeeds } from './needs.ts';

/**
 * A changed row that is read a lot gets its new entry before the next reader asks: by the same lease and fill as
 * a reader's. The snapshot must see the change; where it does not, or somebody else is at it, later again.
 */
export const rewarm =
  ({ filler, catalog }: Pick<JobNeeds, 'filler' | 'catalog'>): Handler<'rewarm'> =>
  async ({ resource: name, tag, xid }, run) => {
    const resource = catalog().resources.get(name);
    if (!resource) return 'no-such-resource';
    const result = await filler.fill(resource, parseRowTag(tag).key, { mustSee: BigInt(xid) });
    if (result.status === 'stored') return result.found ? 'stored' : 'stored-absence';
    if (result.status === 'present') return 'present';
    const why = result.status === 'busy' ? 'busy' : result.reason;
    if (why === 'not_cacheable') return why;
    // Who holds the lease fills, and who fenced this fill has a rewarm of its own: no reason for a dead job.
    if (run.isLast && why !== 'not_seen') return `given-up-${why}`;
    throw new FreshetError({
      code: 'not-rewarmed',
      message: `the fill of ${tag} for "${name}" was not accepted (${why})`,
      hint: 'It is tried again; the next reader fills the entry otherwise.',
      retryable: true,
    });
  };
