import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { type ProcessSettings, type Settings, toEnvironment } from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import { Lifecycle } from '../../shared/lifecycle.ts';
import { adoptDatabase, identifySystem, namespaceOf, slotOf } from '../../shared/origin/adopt.ts';
import { NO_CONFIG_FILE } from '../../shared/resources/config-file.ts';
import {
  lockDataFolder,
  makeDataFolder,
  type Paths,
  pathsOf,
  type RunRecord,
  readLocalServers,
  writeJson,
} from '../data-folder.ts';
import { prepareDatabase, withClient } from '../local/database.ts';
import { isPortFree } from '../local/ports.ts';
import { redisBinary } from '../local/redis-binary.ts';
import { type Role, type RunningChild, startChild } from './children.ts';
import { Kept } from './kept.ts';
import { resourcesFor } from './resources.ts';
import { type Store, type Stores, startStores } from './stores.ts';

export interface StackOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
}

interface Child {
  readonly role: Role;
  readonly kept: Kept<RunningChild>;
}

/** Longer than each part gives itself, so that a part's own message comes first. */
const closeLimitMs = 30_000;
const logLimitBytes = 16 * 1024 * 1024;

async function checkPorts({ apiHost, apiPort, consoleHost, consolePort }: Settings): Promise<void> {
  const wanted = [
    ['FRESHET_API_PORT', apiPort, apiHost],
    ['FRESHET_CONSOLE_PORT', consolePort, consoleHost],
  ] as const;
  for (const [variable, port, host] of wanted) {
    if (await isPortFree(port, host)) continue;
    throw new FreshetError({
      code: 'port-taken',
      message: `Port ${port} is taken by another program`,
      hint: `${variable} names another one.`,
    });
  }
}

/** A log that has grown large makes room, once at a start; the one before it is kept. */
function rotateLogs(paths: Paths): void {
  for (const name of ['api', 'worker', 'postgres', 'cache-redis', 'queue-redis']) {
    const file = paths.log(name);
    if (existsSync(file) && statSync(file).size > logLimitBytes) renameSync(file, `${file}.1`);
  }
}

/** Where this machine reaches a listener: one on all addresses is reached on loopback. */
function baseUrl(host: string, port: number): string {
  const near = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${near.includes(':') ? `[${near}]` : near}:${port}`;
}

const pidOf = (store: Store): number | null => store.kept?.current?.pid ?? null;

/** Everything that `freshet up` starts, in the order in which it starts it. */
export class Stack {
  readonly #options: StackOptions;
  readonly #paths: Paths;
  readonly #lifecycle = new Lifecycle();
  readonly #kept: { kill(): Promise<void> }[] = [];
  readonly #children: Child[] = [];
  #record: (() => RunRecord) | null = null;

  constructor(options: StackOptions) {
    this.#options = options;
    this.#paths = pathsOf(options.settings.dataDir);
  }

  /** Starts everything, or throws one error when nothing of it runs any more. */
  async start(): Promise<RunRecord> {
    const { settings, signal, say } = this.#options;
    try {
      await checkPorts(settings);
      const redisProgram = settings.redisUrl && settings.queueRedisUrl ? null : redisBinary(say);
      this.#takeFolder();
      const starting = this.#startStores(redisProgram);
      // Large, and loaded while the stores start; an error of either is thrown where it is awaited.
      const context = import('./context.ts');
      context.catch(() => {});
      const stores = await starting;
      signal.throwIfAborted();
      const { databaseUrl, namespace, configFile } = await this.#readyDatabase(stores.postgres);
      signal.throwIfAborted();
      const resolved: ProcessSettings = {
        ...settings,
        configFile,
        databaseUrl,
        redisUrl: stores.cacheRedis.url,
        queueRedisUrl: stores.queueRedis.url,
      };
      const consoleUrl = await this.#startConsole(await context, resolved, namespace);
      await this.#startChildren(resolved);
      signal.throwIfAborted();
      return this.#writeRecord(resolved, stores, consoleUrl);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** In good order: the API, the worker, the console, the stores; Postgres is the last to stop. */
  stop(): Promise<void> {
    return this.#lifecycle.close(closeLimitMs);
  }

  /** At once. The stores come back by their own recovery. */
  async kill(): Promise<void> {
    await Promise.allSettled(this.#kept.map(one => one.kill()));
    rmSync(this.#paths.run, { force: true });
    rmSync(this.#paths.lock, { force: true });
  }

  #takeFolder(): void {
    makeDataFolder(this.#paths);
    this.#lifecycle.onClose('the data folder', lockDataFolder(this.#paths));
    rmSync(this.#paths.run, { force: true });
    rotateLogs(this.#paths);
  }

  #startStores(redisProgram: string | null): Promise<Stores> {
    return startStores({
      settings: this.#options.settings,
      paths: this.#paths,
      known: readLocalServers(this.#paths),
      redisProgram,
      say: this.#options.say,
      onRestart: () => this.#update(),
      onStarted: kept => this.#kept.push(kept),
      onClose: (name, close) => this.#lifecycle.onClose(name, close),
    });
  }

  /** The database to serve, ready to be followed. One of somebody else's is only looked at. */
  async #readyDatabase(store: Store) {
    const { settings, say } = this.#options;
    const isLocal = store.kept !== null;
    const databaseUrl = isLocal ? await prepareDatabase(store.url, say) : store.url;
    return withClient(databaseUrl, async client => {
      await adoptDatabase(client, { apply: isLocal, slot: slotOf(settings.namespace) });
      const namespace = namespaceOf(await identifySystem(client), settings.namespace);
      const isDemoOrNamed = isLocal || settings.configFile !== null;
      const configFile = isDemoOrNamed ? settings.configFile : await resourcesFor(client, process.cwd());
      if (configFile === NO_CONFIG_FILE)
        say('no file declares resources: every table with a key is served, read-only');
      return { databaseUrl, namespace, configFile };
    });
  }

  async #startConsole(
    { openConsole }: typeof import('./context.ts'),
    settings: ProcessSettings,
    namespace: string,
  ): Promise<string> {
    const apiMetrics = (): string[] => this.#running('api').map(({ metrics }) => metrics);
    const console = await openConsole(settings, namespace, apiMetrics);
    this.#lifecycle.onClose('the console', () => console.close());
    return console.url;
  }

  /** The worker and the API processes, at the same time. */
  async #startChildren(settings: Settings): Promise<void> {
    const { say, signal } = this.#options;
    const env = { ...this.#options.env, ...toEnvironment(settings) };
    const start = async (role: Role): Promise<void> => {
      const kept = await Kept.start({
        name: role === 'api' ? 'an API process' : 'the worker',
        start: () => startChild({ role, env, logFile: this.#paths.log(role), signal }),
        onRestart: () => this.#update(),
        say,
      });
      this.#children.push({ role, kept });
      this.#kept.push(kept);
    };
    const stopAll = (role: Role) => () =>
      Promise.all(this.#children.filter(child => child.role === role).map(({ kept }) => kept.stop()));
    // Closed in the opposite order: the API answers its last requests before the worker commits its position.
    this.#lifecycle.onClose('the worker', stopAll('worker'));
    this.#lifecycle.onClose('the API', stopAll('api'));
    const roles: Role[] = ['worker', ...Array.from({ length: settings.apiProcesses }, (): Role => 'api')];
    const starts = await Promise.allSettled(roles.map(start));
    const failed = starts.find(result => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  #running(role?: Role): RunningChild[] {
    return this.#children.flatMap(({ kept: { current } }) =>
      current && (role === undefined || current.role === role) ? [current] : [],
    );
  }

  #writeRecord(settings: ProcessSettings, stores: Stores, consoleUrl: string): RunRecord {
    const { postgres, cacheRedis, queueRedis } = stores;
    const record = (): RunRecord => ({
      api: baseUrl(settings.apiHost, settings.apiPort),
      console: consoleUrl,
      metrics: this.#running().map(({ metrics }) => `${metrics}/metrics`),
      databaseUrl: settings.databaseUrl,
      cacheRedisUrl: cacheRedis.url,
      queueRedisUrl: queueRedis.url,
      feed: settings.feed,
      pids: {
        supervisor: process.pid,
        api: this.#running('api').map(({ pid }) => pid),
        worker: this.#running('worker')[0]?.pid ?? null,
        postgres: pidOf(postgres),
        cacheRedis: pidOf(cacheRedis),
        queueRedis: pidOf(queueRedis),
      },
    });
    this.#record = record;
    this.#update();
    this.#lifecycle.onClose('run.json', () => rmSync(this.#paths.run, { force: true }));
    return record();
  }

  /** Writes run.json anew: something runs under other numbers than before. */
  #update(): void {
    if (this.#record && !this.#lifecycle.isClosing) writeJson(this.#paths.run, this.#record());
  }
}
