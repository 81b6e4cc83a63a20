import { mkdtempSync, rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareDatabase, withClient } from '../cli/local/database.ts';
import { startLocalPostgres } from '../cli/local/postgres.ts';
import { forgetCluster } from '../cli/local/postgres-folder.ts';
import { type RedisRole, startLocalRedis } from '../cli/local/redis.ts';
import { redisBinary } from '../cli/local/redis-binary.ts';
import type { LocalServer } from '../shared/local/server-process.ts';
import { adoptDatabase, slotOf } from '../shared/origin/adopt.ts';

/** Postgres with the demo's data and two Redis, set up as `npm start` does, in a folder that goes when they stop. */
export interface Stores {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly cacheUrl: string;
  readonly queueUrl: string;
  /** What runs, for the conditions of a result. */
  readonly versions: string;
  /** A further server of the run: stopped before the stores are. */
  keep<S extends LocalServer>(starting: Promise<S>): Promise<S>;
  stop(): Promise<void>;
}

const password = 'bench';

/** They run where this process runs, hence on the core that it has moved to. */
export async function startStores(say: (line: string) => void): Promise<Stores> {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  await chmod(folder, 0o711); // Postgres runs as another account when this runs as root.
  const postgresFolder = join(folder, 'postgres');
  const starts: Promise<LocalServer>[] = [];
  let isOver = false;
  const stop = async (): Promise<void> => {
    isOver = true;
    // Also what is still on its way up: it would outlive this process.
    for (const start of starts.toReversed()) await (await start.catch(() => null))?.stop();
    forgetCluster(postgresFolder);
    rmSync(folder, { recursive: true, force: true });
  };
  const keep = async <S extends LocalServer>(starting: Promise<S>): Promise<S> => {
    starts.push(starting);
    const server = await starting;
    if (!isOver) return server;
    await server.stop();
    throw new Error('the run was ended');
  };
  const startRedis = (role: RedisRole): Promise<LocalServer> =>
    startLocalRedis({
      role,
      binary: redisBinary(say),
      folder: join(folder, role),
      logFile: join(folder, `${role}.log`),
      password,
    });
  try {
    const postgres = await keep(
      startLocalPostgres({
        folder: postgresFolder,
        logFile: join(folder, 'postgres.log'),
        password: null,
        sync: false,
        say,
      }),
    );
    const cache = await keep(startRedis('cache'));
    const queue = await keep(startRedis('queue'));
    const databaseUrl = await prepareDatabase(postgres.url, say);
    const versions = await withClient(databaseUrl, async client => {
      await adoptDatabase(client, { apply: true, slot: slotOf(null) });
      const { rows } = await client.query("select current_setting('server_version') as version");
      return `Node ${process.versions.node}, Postgres ${rows[0].version.split(' ')[0]}`;
    });
    return { folder, databaseUrl, cacheUrl: cache.url, queueUrl: queue.url, versions, keep, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
