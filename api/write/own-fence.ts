import type { Xid } from '../../shared/protocol/xid.ts';
import { rowTag } from '../../shared/resources/keys.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { ApiContext } from '../ports.ts';

/**
 * EVENT with the write's own xid, after COMMIT and before the answer: who got the answer reads the new row, through
 * whichever process. The stream repeats it, so a Redis that refuses costs promptness, and the write stays done.
 */
export async function ownFence(
  { store, observer }: Pick<ApiContext, 'store' | 'observer'>,
  resource: Resource,
  keys: readonly (readonly string[])[],
  xid: Xid,
): Promise<void> {
  const tags = new Set(keys.map(key => rowTag(resource.table.qualified, key)));
  const events = await Promise.allSettled([...tags].map(async tag => store.event(tag, [xid])));
  for (const event of events) {
    if (event.status === 'rejected') {
      observer.emit({ type: 'own-fence.failed', resource: resource.name, error: event.reason });
    }
  }
}
