import type pg from 'pg';
import type { ProcessSettings } from '../../shared/config.ts';
import type { Observer } from '../../shared/observe.ts';
import { slotOf } from '../../shared/origin/adopt.ts';
import type { Xid } from '../../shared/protocol/xid.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { watchSlot } from '../watchdog.ts';
import type { Feed } from './feed.ts';
import { WalFeed } from './wal-feed.ts';

/** What every feed needs of the worker around it. */
export interface FeedSurroundings {
  /** Of this worker, for the broker's and the server's lists. */
  readonly worker: string;
  /** What the keys in Redis begin with. */
  readonly namespace: string;
  readonly pool: pg.Pool;
  readonly tables: () => ReadonlyMap<string, TableShape>;
  readonly reference: () => Xid;
  /** Takes P: what widens the transaction ids of a stream is asked for before the stream begins. */
  readonly probe: () => Promise<unknown>;
  readonly observer: Observer;
  readonly whileBlocked: <T>(work: () => Promise<T>) => Promise<T>;
  readonly signal: AbortSignal;
}

/** The feed that the settings name, not opened yet. */
export async function feedOf(settings: ProcessSettings, around: FeedSurroundings): Promise<Feed> {
  if (settings.feed === 'kafka') {
    // Loaded only where there is a broker: a client that the other feed has no use for.
    const { kafkaFeedOf } = await import('./open-kafka-feed.ts');
    return kafkaFeedOf(settings, around);
  }
  const slot = slotOf(settings.namespace);
  void watchSlot(around.pool, slot, around.observer, around.signal);
  return new WalFeed({ ...around, url: settings.databaseUrl, slot, beforeStream: around.probe });
}
