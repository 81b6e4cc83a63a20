import { mkdtempSync, rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresInstallation, startLocalPostgres } from '../../cli/local/postgres.ts';
import { forgetCluster } from '../../cli/local/postgres-folder.ts';
import { type RedisRole, startLocalRedis } from '../../cli/local/redis.ts';
import { redisBinary } from '../../cli/local/redis-binary.ts';
import type { LocalServer } from '../../shared/local/server-process.ts';

/** A server that a test owns: it may kill it, and start it again on the same address and the same data. */
export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** Changes with every restart. */
  readonly pid: number;
  readonly logFile: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again after `kill()` or `halt()`, on the same port. */
  restart(): Promise<void>;
  /** Orderly stop; the data stays, `restart()` brings it back. */
  halt(): Promise<void>;
  /** Orderly stop and the folder removed: the last call. */
  stop(): Promise<void>;
}

export interface TestServerOptions {
  /** Settings of the server, by name, on top of the product's. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

export interface TestPostgresOptions extends TestServerOptions {
  /** Another version than the product's own. */
  readonly installation?: PostgresInstallation;
}

const password = 'test';

/** A server in a temporary folder of its own; `start` starts it there, the first time and every time after. */
export async function ownServer(
  kind: string,
  start: (folder: string, logFile: string, port: number | undefined) => Promise<LocalServer>,
  forget: (folder: string) => void = () => {},
): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), `freshet-${kind}-`));
  await chmod(folder, 0o711); // Postgres runs as another account when the tests run as root.
  const logFile = join(folder, `${kind}.log`);
  const clean = (): void => {
    forget(folder);
    rmSync(folder, { recursive: true, force: true });
  };
  let server: LocalServer;
  try {
    server = await start(folder, logFile, undefined);
  } catch (error) {
    clean();
    throw error;
  }
  const { port, url } = server;
  let isRunning = true;
  const halt = async (): Promise<void> => {
    if (isRunning) await server.stop();
    isRunning = false;
  };
  return {
    url,
    port,
    get pid() {
      return server.pid;
    },
    logFile,
    halt,
    async kill() {
      await server.kill();
      isRunning = false;
    },
    async restart() {
      await halt();
      server = await start(folder, logFile, port);
      isRunning = true;
      if (server.port !== port) throw new Error(`somebody took port ${port} while ${kind} was down`);
    },
    async stop() {
      await halt();
      clean();
    },
  };
}

/** A Postgres of its own, superuser `postgres` without password, database `postgres`; `wal_level=logical`. */
export const startPostgres = (options: TestPostgresOptions = {}): Promise<TestServer> =>
  ownServer(
    'postgres',
    (folder, logFile, port) =>
      startLocalPostgres({
        folder: join(folder, 'data'),
        logFile,
        port,
        password: null,
        sync: false,
        ...(options.installation && { installation: options.installation }),
        settings: {
          max_replication_slots: 50,
          max_wal_senders: 50,
          max_connections: 300,
          max_prepared_transactions: 20,
          // What fsync protects against, a crash of the operating system, no test provokes.
          fsync: 'off',
          ...options.settings,
        },
      }),
    folder => forgetCluster(join(folder, 'data')),
  );

/** A Redis of its own, set up as the product's for that role. */
export const startRedis = (role: RedisRole, options: TestServerOptions = {}): Promise<TestServer> =>
  ownServer(`${role}-redis`, (folder, logFile, port) =>
    startLocalRedis({
      role,
      binary: redisBinary(line => process.stderr.write(`${line}\n`)),
      folder: join(folder, 'data'),
      logFile,
      port,
      password,
      ...(options.settings && { settings: options.settings }),
    }),
  );
