import { CacheConnection } from '../shared/cache/connection.ts';
import { CacheStore } from '../shared/cache/store.ts';
import { systemClock } from '../shared/clock.ts';
import { readSettings } from '../shared/config.ts';
import { FreshetError } from '../shared/errors.ts';
import { silentObserver } from '../shared/observe.ts';
import { identifySystem, namespaceOf } from '../shared/origin/adopt.ts';
import { keysOf } from '../shared/resources/keys.ts';
import { type Command, exitCode } from './command.ts';
import { installationOf } from './installation.ts';
import { withClient } from './local/database.ts';

const answerLimitMs = 2_000;

/**
 * Orders to the cache. `flush` makes a new epoch: everything cached is a miss from then on. Nothing is deleted; a
 * FLUSHALL would take leases and fences along, and the worker closes this gap like any other.
 */
export const command: Command = {
  usage: 'flush [--json]',
  options: { json: { type: 'boolean' } },
  async run({ words, options, env, print }) {
    if (words.length !== 1 || words[0] !== 'flush') {
      print(`Expected "freshet cache flush", got "freshet cache ${words.join(' ')}".`);
      return exitCode.usage;
    }
    const settings = readSettings(env);
    const { databaseUrl, cacheRedisUrl } = installationOf(settings);
    const system = await withClient(databaseUrl, identifySystem);
    const keys = keysOf(namespaceOf(system, settings.namespace));
    const connection = new CacheConnection({
      url: cacheRedisUrl,
      controlKey: keys.control,
      commandTimeoutMs: answerLimitMs,
      observer: silentObserver,
    });
    try {
      if (!(await connection.open(answerLimitMs))) {
        throw new FreshetError({
          code: 'cache-unavailable',
          message: `the cache Redis did not answer within ${answerLimitMs} ms`,
          hint: '`freshet status` tells where it should be.',
          retryable: true,
        });
      }
      const epoch = await new CacheStore(connection, keys, systemClock).newEpoch(null, []);
      print(
        options.json ? JSON.stringify({ epoch }) : `Everything cached is a miss from now on: epoch ${epoch}.`,
      );
      return exitCode.good;
    } finally {
      await connection.close();
    }
  },
};
