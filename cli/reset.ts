import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { stopLeftoverBroker } from '../connectors/local/broker.ts';
import { stopLeftoverConnect } from '../connectors/local/connect.ts';
import { readSettings } from '../shared/config.ts';
import { FreshetError } from '../shared/errors.ts';
import { type Command, exitCode } from './command.ts';
import { holderOf, inUse, lockDataFolder, type Paths, pathsOf } from './data-folder.ts';
import { stopLeftoverPostgres } from './local/postgres.ts';
import { forgetCluster } from './local/postgres-folder.ts';
import { stopLeftoverRedis } from './local/redis.ts';

/** A folder is removed only when it is one of ours: a wrong FRESHET_DATA_DIR must not cost somebody's files. */
function checkIsOurs(paths: Paths): void {
  if (existsSync(paths.secrets) || existsSync(paths.lock)) return;
  const found = readdirSync(paths.root);
  if (found.every(name => name === 'logs')) return;
  throw new FreshetError({
    code: 'not-a-data-folder',
    message: `${paths.root} does not look like a data folder of Freshet: it holds ${found.slice(0, 3).join(', ')}`,
    hint: 'Check FRESHET_DATA_DIR, or remove the folder yourself.',
  });
}

/** Forgets the data of the local servers. Stores of somebody else's are not touched. */
export const command: Command = {
  usage: '',
  options: {},
  async run({ env, print }) {
    const paths = pathsOf(readSettings(env).dataDir);
    if (!existsSync(paths.root)) {
      print(`There is no data: ${paths.root} does not exist.`);
      return exitCode.good;
    }
    checkIsOurs(paths);
    const holder = holderOf(paths);
    if (holder) throw inUse(paths, holder);
    const unlock = lockDataFolder(paths);
    await stopLeftoverConnect(paths.connect, print);
    await stopLeftoverBroker(paths.kafka, print);
    await stopLeftoverPostgres(paths.postgres, print);
    await stopLeftoverRedis('cache', paths.cacheRedis, print);
    await stopLeftoverRedis('queue', paths.queueRedis, print);
    forgetCluster(paths.postgres);
    unlock();
    for (const name of readdirSync(paths.root))
      rmSync(join(paths.root, name), { recursive: true, force: true });
    rmSync(paths.root, { recursive: true, force: true });
    print(`Forgotten: ${paths.root}. The next start makes new data.`);
    return exitCode.good;
  },
};
