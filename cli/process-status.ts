import { CacheConnection } from '../shared/cache/connection.ts';
import { CacheStore, type ProcessRecord } from '../shared/cache/store.ts';
import { systemClock } from '../shared/clock.ts';
import { FreshetError } from '../shared/errors.ts';
import { silentObserver } from '../shared/observe.ts';
import { keysOf } from '../shared/resources/keys.ts';

const answerLimitMs = 2_000;

export interface ProcessStatus {
  /** What each process said of itself within the last seconds. Throws `cache-unavailable` while Redis is away. */
  read(): Promise<ProcessRecord[]>;
  close(): Promise<void>;
}

export function openProcessStatus(cacheRedisUrl: string, namespace: string): ProcessStatus {
  const keys = keysOf(namespace);
  const connection = new CacheConnection({
    url: cacheRedisUrl,
    controlKey: keys.control,
    commandTimeoutMs: answerLimitMs,
    observer: silentObserver,
  });
  const store = new CacheStore(connection, keys, systemClock);
  const opened = connection.open(answerLimitMs);
  return {
    async read() {
      if (await opened) return store.processes();
      if (connection.isOpen) return store.processes();
      throw new FreshetError({
        code: 'cache-unavailable',
        message: 'the cache Redis does not answer',
        retryable: true,
      });
    },
    close: () => connection.close(),
  };
}
