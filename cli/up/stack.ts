import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { findOrInstallJava } from '../../connectors/local/java.ts';
import { kafkaNames } from '../../connectors/names.ts';
import type { ProcessSettings, Settings } from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import { Lifecycle } from '../../shared/lifecycle.ts';
import { isPortFree } from '../../shared/local/ports.ts';
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
import { redisBinary } from '../local/redis-binary.ts';
import { Crew } from './crew.ts';
import { type KafkaChain, registerChain, type StartingChain, startKafkaChain } from './kafka.ts';
import { resourcesFor } from './resources.ts';
import { type KeepOptions, type Store, type Stores, startStores } from './stores.ts';

export interface StackOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
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
  for (const name of ['api', 'worker', 'postgres', 'cache-redis', 'queue-redis', 'kafka', 'connect']) {
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
  readonly #servers: { kill(): Promise<void> }[] = [];
  readonly #crew = new Crew();
  #record: (() => RunRecord) | null = null;
  /** How what is kept running is told of. */
  readonly #keeping: KeepOptions;

  constructor(options: StackOptions) {
    this.#options = options;
    this.#paths = pathsOf(options.settings.dataDir);
    this.#keeping = {
      say: options.say,
      onRestart: () => this.#update(),
      onStarted: kept => this.#servers.push(kept),
    };
  }

  /** Starts everything, or throws one error when nothing of it runs any more. */
  async start(): Promise<RunRecord> {
    const { settings, env, signal, say } = this.#options;
    try {
      await checkPorts(settings);
      const redisProgram = settings.redisUrl && settings.queueRedisUrl ? null : redisBinary(say);
      const java = this.#hasOwnKafka ? findOrInstallJava({ env, say }) : null;
      this.#takeFolder();
      // Large, and loaded while the stores start; an error of either is thrown where it is awaited.
      const context = import('./context.ts');
      context.catch(() => {});
      const kafka = java === null ? null : this.#startKafka(java);
      const stores = await this.#startStores(redisProgram, kafka);
      signal.throwIfAborted();
      const { databaseUrl, namespace, configFile } = await this.#readyDatabase(stores.postgres);
      signal.throwIfAborted();
      const chain = kafka && (await this.#readyKafka(kafka, databaseUrl));
      signal.throwIfAborted();
      const resolved: ProcessSettings = {
        ...settings,
        ...(chain && { kafkaBrokers: chain.broker.url, connectUrl: chain.connect.url }),
        configFile,
        databaseUrl,
        redisUrl: stores.cacheRedis.url,
        queueRedisUrl: stores.queueRedis.url,
      };
      const consoleUrl = await this.#startConsole(await context, resolved, namespace);
      await this.#startCrew(resolved);
      signal.throwIfAborted();
      return this.#writeRecord(resolved, stores, chain, consoleUrl);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** In good order: the API, the workers, the console, Kafka, the stores; Postgres is the last to stop. */
  stop(): Promise<void> {
    return this.#lifecycle.close(closeLimitMs);
  }

  /** At once. The stores come back by their own recovery. */
  async kill(): Promise<void> {
    await Promise.allSettled([this.#crew, ...this.#servers].map(one => one.kill()));
    rmSync(this.#paths.run, { force: true });
    rmSync(this.#paths.lock, { force: true });
  }

  #takeFolder(): void {
    makeDataFolder(this.#paths);
    this.#lifecycle.onClose('the data folder', lockDataFolder(this.#paths));
    rmSync(this.#paths.run, { force: true });
    rotateLogs(this.#paths);
  }

  get #hasOwnKafka(): boolean {
    const { feed, kafkaBrokers } = this.#options.settings;
    return feed === 'kafka' && kafkaBrokers === null;
  }

  #startKafka(java: string): StartingChain {
    const { env, signal } = this.#options;
    const known = readLocalServers(this.#paths);
    return startKafkaChain({ java, env, paths: this.#paths, known, signal, ...this.#keeping });
  }

  async #startStores(redisProgram: string | null, kafka: StartingChain | null): Promise<Stores> {
    try {
      return await startStores({
        settings: this.#options.settings,
        paths: this.#paths,
        known: readLocalServers(this.#paths),
        redisProgram,
        onClose: (name, close) => this.#lifecycle.onClose(name, close),
        ...this.#keeping,
      });
    } finally {
      // Stopped before the stores, whatever became of their start: Connect reads from Postgres.
      if (kafka) this.#lifecycle.onClose('Kafka', () => kafka.stop());
    }
  }

  /** The database to serve, ready to be followed. One of somebody else's is only looked at. */
  async #readyDatabase(store: Store) {
    const { settings, say } = this.#options;
    const isLocal = store.kept !== null;
    const databaseUrl = isLocal ? await prepareDatabase(store.url, say) : store.url;
    return withClient(databaseUrl, async client => {
      await adoptDatabase(client, { apply: isLocal, slot: this.#slot, feed: settings.feed });
      const namespace = namespaceOf(await identifySystem(client), settings.namespace);
      const isDemoOrNamed = isLocal || settings.configFile !== null;
      const configFile = isDemoOrNamed ? settings.configFile : await resourcesFor(client, process.cwd());
      if (configFile === NO_CONFIG_FILE)
        say('no file declares resources: every table with a key is served, read-only');
      return { databaseUrl, namespace, configFile };
    });
  }

  get #slot(): string {
    const { feed, namespace } = this.#options.settings;
    return feed === 'kafka' ? kafkaNames(namespace).slot : slotOf(namespace);
  }

  /** The local chain with its connector at work. */
  async #readyKafka(kafka: StartingChain, databaseUrl: string): Promise<KafkaChain> {
    const { settings, say, signal } = this.#options;
    const chain = await kafka.ready;
    const isLocal = settings.databaseUrl === null;
    await registerChain({ chain, databaseUrl, isLocal, settings, say, signal });
    return chain;
  }

  async #startConsole(
    { openConsole }: typeof import('./context.ts'),
    settings: ProcessSettings,
    namespace: string,
  ): Promise<string> {
    const apiMetrics = (): string[] => this.#crew.running('api').map(({ metrics }) => metrics);
    const console = await openConsole(settings, namespace, apiMetrics);
    this.#lifecycle.onClose('the console', () => console.close());
    return console.url;
  }

  #startCrew(settings: ProcessSettings): Promise<void> {
    // Closed in the opposite order: the API answers its last requests before the workers commit their positions.
    this.#lifecycle.onClose('the workers', () => this.#crew.stop('worker'));
    this.#lifecycle.onClose('the API', () => this.#crew.stop('api'));
    const { env, signal } = this.#options;
    return this.#crew.start({
      settings,
      env,
      signal,
      logFile: role => this.#paths.log(role),
      ...this.#keeping,
    });
  }

  #writeRecord(
    settings: ProcessSettings,
    stores: Stores,
    chain: KafkaChain | null,
    consoleUrl: string,
  ): RunRecord {
    const { postgres, cacheRedis, queueRedis } = stores;
    const { kafkaBrokers, connectUrl } = settings;
    const isKafka = settings.feed === 'kafka';
    const record = (): RunRecord => ({
      api: baseUrl(settings.apiHost, settings.apiPort),
      console: consoleUrl,
      metrics: this.#crew.running().map(({ metrics }) => `${metrics}/metrics`),
      databaseUrl: settings.databaseUrl,
      cacheRedisUrl: cacheRedis.url,
      queueRedisUrl: queueRedis.url,
      feed: settings.feed,
      ...(isKafka && kafkaBrokers !== null && { kafkaBrokers }),
      ...(isKafka && connectUrl !== null && { connectUrl }),
      pids: {
        supervisor: process.pid,
        api: this.#crew.running('api').map(({ pid }) => pid),
        workers: this.#crew.running('worker').map(({ pid }) => pid),
        postgres: pidOf(postgres),
        cacheRedis: pidOf(cacheRedis),
        queueRedis: pidOf(queueRedis),
        ...(isKafka && { kafka: chain && pidOf(chain.broker), connect: chain && pidOf(chain.connect) }),
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
