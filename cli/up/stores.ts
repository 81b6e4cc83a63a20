import { connect } from 'node:net';
import type { Settings } from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import type { LocalServer } from '../../shared/local/server-process.ts';
import { type LocalServers, type Paths, rememberPorts } from '../data-folder.ts';
import { startLocalPostgres } from '../local/postgres.ts';
import { type RedisRole, startLocalRedis } from '../local/redis.ts';
import { Kept } from './kept.ts';

/** A store to work with: one that was named, or a local server that is kept running. */
export interface Store {
  readonly url: string;
  /** null: somebody else's. */
  readonly kept: Kept<LocalServer> | null;
}

export interface KeepOptions {
  readonly say: (line: string) => void;
  readonly onRestart: () => void;
  readonly onStarted: (kept: Kept<LocalServer>) => void;
}

export interface StoresOptions extends KeepOptions {
  readonly settings: Settings;
  readonly paths: Paths;
  readonly known: LocalServers;
  /** `redis-server` or `valkey-server`; null where both Redis are named. */
  readonly redisProgram: string | null;
  /** Takes note of how to stop one; what is noted last is stopped first. */
  readonly onClose: (name: string, stop: () => Promise<void>) => void;
}

const answerLimitMs = 3_000;

/** A server that was named must at least listen; what it is, the processes that use it will check. */
function checkListens(variable: string, url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) };
  return new Promise((resolve, reject) => {
    const socket = connect({ ...where, timeout: answerLimitMs });
    const refuse = (why: string): void => {
      socket.destroy();
      reject(
        new FreshetError({
          code: 'redis-unreachable',
          message: `${variable}: nothing answers at ${where.host}:${where.port} (${why})`,
          hint: `Start that Redis, or leave ${variable} out and a local one is started.`,
        }),
      );
    };
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('timeout', () => refuse(`no answer within ${answerLimitMs / 1000} s`));
    socket.once('error', error => refuse(error.message));
  });
}

/** Keeps a local server under one address: the processes that use it know no other. */
export async function keepServer(
  name: string,
  start: (port: number | undefined) => Promise<LocalServer>,
  { say, onRestart, onStarted }: KeepOptions,
): Promise<Store> {
  const kept = await Kept.start<LocalServer>({
    name,
    say,
    onRestart,
    async start(before) {
      const server = await start(before?.port);
      if (!before || server.port === before.port) return server;
      await server.stop();
      throw new FreshetError({
        code: 'port-taken',
        message: `its port ${before.port} is taken by another program`,
      });
    },
  });
  onStarted(kept);
  return { url: kept.current!.url, kept };
}

async function redis(role: RedisRole, options: StoresOptions): Promise<Store> {
  const { settings, paths, known, say } = options;
  const isCache = role === 'cache';
  const named = isCache ? settings.redisUrl : settings.queueRedisUrl;
  if (named !== null) {
    await checkListens(isCache ? 'REDIS_URL' : 'QUEUE_REDIS_URL', named);
    return { url: named, kept: null };
  }
  return keepServer(
    `${role} Redis`,
    port =>
      startLocalRedis({
        role,
        binary: options.redisProgram!,
        folder: isCache ? paths.cacheRedis : paths.queueRedis,
        logFile: paths.log(`${role}-redis`),
        port: port ?? (isCache ? known.cacheRedisPort : known.queueRedisPort),
        password: known.password,
        say,
      }),
    options,
  );
}

async function postgres(options: StoresOptions): Promise<Store> {
  const { settings, paths, known, say } = options;
  if (settings.databaseUrl !== null) return { url: settings.databaseUrl, kept: null };
  const start = (port: number | undefined): Promise<LocalServer> =>
    startLocalPostgres({
      folder: paths.postgres,
      logFile: paths.log('postgres'),
      port: port ?? known.postgresPort,
      password: known.password,
      say,
    });
  return keepServer('Postgres', start, options);
}

export interface Stores {
  readonly postgres: Store;
  readonly cacheRedis: Store;
  readonly queueRedis: Store;
}

export const portOf = (store: Store): number | undefined => store.kept?.current?.port;

/**
 * Starts what is not named elsewhere, all at the same time. What has started is noted to be stopped even when another
 * one fails: Postgres last, because everything else writes to it.
 */
export async function startStores(options: StoresOptions): Promise<Stores> {
  const starts = await Promise.allSettled([
    postgres(options),
    redis('cache', options),
    redis('queue', options),
  ]);
  const failed = starts.find(start => start.status === 'rejected');
  const stores = starts.flatMap(start => (start.status === 'fulfilled' ? [start.value] : []));
  for (const { kept } of stores) if (kept) options.onClose(kept.name, () => kept.stop());
  if (failed) throw failed.reason;
  const [postgresStore, cacheRedis, queueRedis] = stores as [Store, Store, Store];
  remember(options, { postgres: postgresStore, cacheRedis, queueRedis });
  return { postgres: postgresStore, cacheRedis, queueRedis };
}

const remember = ({ paths }: StoresOptions, stores: Stores): void =>
  rememberPorts(paths, {
    postgresPort: portOf(stores.postgres),
    cacheRedisPort: portOf(stores.cacheRedis),
    queueRedisPort: portOf(stores.queueRedis),
  });
