import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { CacheConnection } from '../../shared/cache/connection.ts';
import { CacheStore } from '../../shared/cache/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { silentObserver } from '../../shared/observe.ts';
import { adoptDatabase, namespaceOf, slotOf } from '../../shared/origin/adopt.ts';
import type { FreshetConfig } from '../../shared/resources/define.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { eventually } from './eventually.ts';
import { type KafkaWorld, type KafkaWorldOptions, openKafkaWorld } from './kafka-world.ts';
import { namespace as newNamespace } from './namespace.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A process of the product, started as the supervisor starts it. */
export interface TestProcess {
  readonly pid: number;
  /** Base URL of its own admin listener. */
  readonly metrics: string;
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL, and gone when it resolves. */
  kill(): Promise<void>;
  /** SIGTERM, and gone when it resolves; the exit code. */
  stop(): Promise<number | null>;
}

export interface ApiProcess extends TestProcess {
  readonly url: string;
  get(path: string, headers?: Record<string, string>): Promise<HttpAnswer>;
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<HttpAnswer>;
}

export interface WorldOptions {
  /** SQL that makes the tables; run before anything starts. */
  readonly schema: string;
  /** Absent: every table with a primary key, read-only. */
  readonly config?: FreshetConfig;
  /** Servers of the test's own; the shared ones otherwise. */
  readonly databaseUrl?: string;
  readonly cacheUrl?: string;
  readonly queueUrl?: string;
  /** Statement that makes the publication, instead of one for all tables. */
  readonly publication?: string;
  readonly env?: Record<string, string>;
  /** Where changes come from; TEST_FEED unless given, straight from the log unless that is set. */
  readonly feed?: 'wal' | 'kafka';
  readonly kafka?: Pick<KafkaWorldOptions, 'chain' | 'partitions'>;
}

/** A database, a namespace and the processes of one Freshet, all the test's own. */
export interface World {
  readonly database: Pick<TestDatabase, 'url' | 'query' | 'connect'>;
  readonly namespace: string;
  readonly slot: string;
  /** Null where changes come straight from the log. */
  readonly kafka: KafkaWorld | null;
  readonly cacheUrl: string;
  readonly queueUrl: string;
  /** The cache, as the product reads it. */
  readonly store: CacheStore;
  api(env?: Record<string, string>): Promise<ApiProcess>;
  worker(env?: Record<string, string>): Promise<TestProcess>;
  /** Waits until `api` answers in mode FRESH. */
  fresh(api: ApiProcess): Promise<void>;
  close(): Promise<void>;
}

const startLimitMs = 20_000;

export async function openWorld(options: WorldOptions): Promise<World> {
  const set = newNamespace().replaceAll(/[^a-z0-9]/gi, '_');
  const folder = mkdtempSync(join(tmpdir(), 'freshet-world-'));
  const database = options.databaseUrl === undefined ? await createDatabase() : foreign(options.databaseUrl);
  const cacheUrl = options.cacheUrl ?? process.env.TEST_CACHE_REDIS_URL!;
  const queueUrl = options.queueUrl ?? process.env.TEST_QUEUE_REDIS_URL!;
  if (options.publication !== undefined) {
    await database.query(options.schema);
    await database.query(options.publication);
  }
  const client = await database.connect();
  await adoptDatabase(client, { apply: true, slot: slotOf(set) });
  if (options.publication === undefined) await database.query(options.schema);
  const feed = options.feed ?? process.env.TEST_FEED ?? 'wal';
  const kafka =
    feed === 'kafka' ? await openKafkaWorld({ ...options.kafka, database, namespace: set }) : null;
  const slot = kafka?.names.slot ?? slotOf(set);
  const namespace = namespaceOf({ id: '', database: '' }, set);

  const configFile = join(folder, 'config.mjs');
  if (options.config) writeFileSync(configFile, `export default ${JSON.stringify(options.config)};`);
  const env = {
    ...process.env,
    NODE_OPTIONS: '',
    DATABASE_URL: database.url,
    REDIS_URL: cacheUrl,
    QUEUE_REDIS_URL: queueUrl,
    FRESHET_NAMESPACE: set,
    FRESHET_CONFIG: options.config ? configFile : 'none',
    ...kafka?.env,
    ...options.env,
  };

  const keys = keysOf(namespace);
  const connection = new CacheConnection({
    url: cacheUrl,
    controlKey: keys.control,
    commandTimeoutMs: 2_000,
    observer: silentObserver,
  });
  const store = new CacheStore(connection, keys, systemClock);
  const processes: TestProcess[] = [];
  let number = 0;

  async function start(role: 'api' | 'worker', extra: Record<string, string>): Promise<TestProcess> {
    number += 1;
    const logFile = join(folder, `${role}-${number}.log`);
    const started = await launch(role, { ...env, ...extra }, logFile);
    processes.push(started);
    return started;
  }

  await connection.open();
  return {
    database,
    namespace,
    slot,
    kafka,
    cacheUrl,
    queueUrl,
    store,
    worker: (extra = {}) => start('worker', extra),
    async api(extra = {}) {
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      const started = await start('api', { FRESHET_API_PORT: String(port), ...extra });
      return Object.assign(Object.create(started) as TestProcess, {
        url,
        pid: started.pid,
        get: (path: string, headers: Record<string, string> = {}) =>
          send(url, 'GET', path, undefined, headers),
        send: (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
          send(url, method, path, body, headers),
      });
    },
    async fresh(api) {
      await eventually(
        'the API is FRESH',
        async () => (await send(api.url, 'GET', '/health/ready', undefined, {})).body,
        body => body.includes('FRESH'),
        15_000,
      );
    },
    async close() {
      await Promise.all(processes.map(one => one.kill()));
      await connection.close();
      await client.end().catch(() => {});
      await kafka?.close();
      await dropSlot(database, slot);
      if ('drop' in database) await (database as TestDatabase).drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The whole database of a server that the test owns. */
function foreign(url: string): World['database'] {
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  return {
    url,
    connect,
    async query(sql, params) {
      const client = await connect();
      try {
        return await client.query(sql, params);
      } finally {
        await client.end();
      }
    },
  };
}

/** A slot outlives its worker, and would keep the database from being dropped. */
async function dropSlot(database: World['database'], slot: string): Promise<void> {
  const drop = `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '${slot}'`;
  await eventually(
    `slot ${slot} is dropped`,
    () =>
      database.query(drop).then(
        () => true,
        error => String(error),
      ),
    // A server of the test's own may be down by now.
    seen => seen === true || (typeof seen === 'string' && /ECONNREFUSED|terminat|shutting/.test(seen)),
  );
}

async function launch(role: 'api' | 'worker', env: NodeJS.ProcessEnv, logFile: string): Promise<TestProcess> {
  const log = openSync(logFile, 'a');
  const entry = fileURLToPath(
    new URL(role === 'api' ? '../../api/main.ts' : '../../workers/main.ts', import.meta.url),
  );
  const child: ChildProcess = fork(entry, { stdio: ['ignore', log, log, 'ipc'], env, execArgv: [] });
  const exited = new Promise<number | null>(resolve => child.once('exit', code => resolve(code)));
  const readLog = (): string => readFileSync(logFile, 'utf8');
  const metrics = await new Promise<string>((resolve, reject) => {
    const fail = (why: string): void => {
      // Nobody would end it, and its channel would keep the test's process.
      child.kill('SIGKILL');
      reject(new Error(`the ${role} ${why}:\n${readLog().slice(-4000)}`));
    };
    const timer = setTimeout(() => fail(`was not ready within ${startLimitMs} ms`), startLimitMs);
    child.on('message', (word: { type: string; metrics?: string; message?: string }) => {
      clearTimeout(timer);
      if (word.type === 'ready') resolve(word.metrics!);
      else fail(`did not start: ${word.message}`);
    });
    exited.then(code => {
      clearTimeout(timer);
      fail(`ended with ${code}`);
    });
  });
  return {
    pid: child.pid!,
    metrics,
    log: readLog,
    signal: signal => void child.kill(signal),
    async kill() {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await exited;
    },
    async stop() {
      child.kill('SIGTERM');
      return exited;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** `node:http`, not fetch: fetch adds `Cache-Control: no-cache` to every conditional request. */
export function send(
  base: string,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<HttpAnswer> {
  const content =
    body === undefined ? null : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const req = request(
      new URL(base),
      {
        method,
        path,
        headers: {
          ...(content && { 'Content-Type': 'application/json', 'Content-Length': String(content.length) }),
          ...headers,
        },
        agent: false,
      },
      res => {
        const chunks: Buffer[] = [];
        res.on('data', chunk => chunks.push(chunk));
        res.on('end', () =>
          resolve({
            status: res.statusCode!,
            headers: res.headers as Record<string, string>,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    req.on('error', reject);
    req.end(content ?? undefined);
  });
}
