import { Redis } from 'ioredis';
import { describe, FreshetError } from '../errors.ts';

const ANSWER_LIMIT_MS = 3_000;

/** What a Redis says of itself. */
export interface RedisInfo {
  /** The whole of INFO. */
  readonly text: string;
  readonly runId: string;
  readonly version: string;
  readonly role: string;
  readonly evictionPolicy: string;
  /** 0: no limit. */
  readonly memoryLimitBytes: number;
  readonly hasJournal: boolean;
}

/** Asks once. @throws FreshetError `redis-unreachable`. */
export async function readRedisInfo(url: string): Promise<RedisInfo> {
  const redis = new Redis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: ANSWER_LIMIT_MS,
    commandTimeout: ANSWER_LIMIT_MS,
    retryStrategy: () => null,
  });
  let lost: unknown;
  redis.on('error', error => {
    lost = error;
  });
  try {
    await redis.connect();
    return parse(await redis.info());
  } catch (error) {
    throw new FreshetError({
      code: 'redis-unreachable',
      message: `it does not answer: ${describe(lost ?? error)}`,
      retryable: true,
      cause: error,
    });
  } finally {
    redis.disconnect();
  }
}

function parse(text: string): RedisInfo {
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(text)?.[1] ?? '';
  return {
    text,
    runId: field('run_id'),
    version: field('redis_version'),
    role: field('role'),
    evictionPolicy: field('maxmemory_policy'),
    memoryLimitBytes: Number(field('maxmemory')),
    hasJournal: field('aof_enabled') === '1',
  };
}
