import type { Settings } from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import { pathsOf, readRun } from '../data-folder.ts';

/** What is to be looked at; null: it is not named, and a local one would be started. */
export interface Targets {
  readonly databaseUrl: string;
  readonly redisUrl: string | null;
  readonly queueRedisUrl: string | null;
  readonly feed: 'wal' | 'kafka';
  readonly kafkaBrokers: string | null;
  readonly connectUrl: string | null;
  /** The database is one that Freshet started. */
  readonly isLocal: boolean;
}

/** What the settings name, else what runs on the data folder. @throws FreshetError `no-database`. */
export function targetsOf(settings: Settings): Targets {
  if (settings.databaseUrl !== null)
    return { ...settings, databaseUrl: settings.databaseUrl, isLocal: false };
  try {
    const run = readRun(pathsOf(settings.dataDir));
    return {
      databaseUrl: run.databaseUrl,
      redisUrl: run.cacheRedisUrl,
      queueRedisUrl: run.queueRedisUrl,
      feed: run.feed === 'kafka' ? 'kafka' : 'wal',
      kafkaBrokers: run.kafkaBrokers ?? null,
      connectUrl: run.connectUrl ?? null,
      isLocal: true,
    };
  } catch (cause) {
    throw new FreshetError({
      code: 'no-database',
      message: 'DATABASE_URL is not set, and no local database runs',
      hint: 'Name the database to look at: DATABASE_URL=postgres://user:password@host:5432/database freshet doctor',
      cause,
    });
  }
}
