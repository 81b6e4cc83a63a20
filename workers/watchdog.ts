import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Observer } from '../shared/observe.ts';
import { readSlot } from './feed/slot.ts';

const LOOK_EVERY_MS = 2_000;

/** Reports what a slot makes Postgres keep, until the signal aborts. A slot that is lost, the feed itself notices. */
export async function watchSlot(
  pool: pg.Pool,
  slot: string,
  observer: Observer,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    // Without an answer there is nothing to report; who needs the database says so.
    const state = await readSlot(pool, slot).catch(() => null);
    if (state) {
      const { walStatus: status, retainedBytes } = state;
      observer.emit({ type: 'slot.checked', slot, status, retainedBytes });
    }
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
  }
}
