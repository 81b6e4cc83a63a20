import type { Settings } from '../shared/config.ts';
import { holderOf, pathsOf, type RunRecord, readRun } from './data-folder.ts';

/** Where processes of Freshet meet. */
export interface Installation {
  readonly databaseUrl: string;
  readonly cacheRedisUrl: string;
  /** What runs on the data folder; null where it is run by others: containers, a service manager. */
  readonly run: RunRecord | null;
}

/** What the settings name, else what runs on the data folder. @throws FreshetError `not-running` where neither is. */
export function installationOf(settings: Settings): Installation {
  const { databaseUrl, redisUrl } = settings;
  const paths = pathsOf(settings.dataDir);
  if (databaseUrl === null || redisUrl === null) {
    const run = readRun(paths);
    return { databaseUrl: run.databaseUrl, cacheRedisUrl: run.cacheRedisUrl, run };
  }
  const run = holderOf(paths) === null ? null : readRun(paths);
  const isThis = run?.databaseUrl === databaseUrl && run.cacheRedisUrl === redisUrl;
  return { databaseUrl, cacheRedisUrl: redisUrl, run: isThis ? run : null };
}
