import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../../shared/errors.ts';
import { forgetServer, noteServer, stopLeftover } from '../../shared/local/leftover.ts';
import { portOr } from '../../shared/local/ports.ts';
import { type LocalServer, type RunningCommand, runServer } from '../../shared/local/server-process.ts';
import { type Properties, propertiesText } from './properties.ts';
import { jvmArguments, type KafkaRuntime, lastReason } from './runtime.ts';

export interface ConnectOptions {
  readonly runtime: KafkaRuntime;
  /** The Kafka that it keeps its own state in, as FRESHET_KAFKA_BROKERS. */
  readonly brokers: string;
  /** Its own folder; made where it is missing. */
  readonly folder: string;
  readonly logFile: string;
  /** Taken where it is free. */
  readonly port?: number | undefined;
  /** Two Connects on one Kafka that are not to be one cluster have two names. */
  readonly group?: string;
  /** Further settings of the worker, by name. */
  readonly settings?: Properties;
  readonly say?: (line: string) => void;
}

export interface LocalConnect extends LocalServer {
  /** Files in here may be named by connectors (`${file:…}`), and no others. */
  readonly passwordFolder: string;
}

/** Rows of megabytes are held as several copies on their way; where there are none, it stays at half of this. */
const maxHeapMb = 384;
const readyLimitMs = 60_000;
const probeLimitMs = 1_000;
const pollMs = 50;
const portAttempts = 3;
/** Once in about thirty stops its REST server hangs for minutes, while the connector still streams. */
const stopSteps = [
  ['SIGTERM', 6_000],
  ['SIGKILL', 5_000],
] as const;

/** Settings of the worker that a production set-up has, too: how events are written, and what connectors may ask for. */
export const connectSettings: Properties = {
  'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
  'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
  'key.converter.schemas.enable': false,
  'value.converter.schemas.enable': false,
  // Otherwise a NULL arrives as its column's default.
  'key.converter.replace.null.with.default': false,
  'value.converter.replace.null.with.default': false,
  'connector.client.config.override.policy': 'All',
  'offset.flush.interval.ms': 1_000,
  'plugin.discovery': 'service_load',
  'config.providers': 'file',
  'config.providers.file.class': 'org.apache.kafka.common.config.provider.FileConfigProvider',
};

/** One worker that is alone on one machine. */
const localSettings: Properties = {
  'offset.storage.replication.factor': 1,
  'offset.storage.partitions': 1,
  'config.storage.replication.factor': 1,
  'status.storage.replication.factor': 1,
  'status.storage.partitions': 1,
  // After kill -9 the next one waits this long for the dead one; less, and a machine under load restarts its tasks.
  'session.timeout.ms': 6_000,
  'heartbeat.interval.ms': 1_500,
  // There is no other worker to wait for before tasks are given out again.
  'scheduled.rebalance.max.delay.ms': 0,
};

/** Where the files lie that connectors of the Connect in `folder` may read. */
export const passwordFolderOf = (folder: string): string => join(folder, 'passwords');

export const stopLeftoverConnect = (folder: string, say: (line: string) => void): Promise<void> =>
  stopLeftover('Kafka Connect', folder, stopSteps, say);

/** Whether it takes orders: 503 while it joins its group and reads its topics. */
async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(probeLimitMs) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

async function untilReady(server: RunningCommand, url: string): Promise<boolean> {
  for (const until = performance.now() + readyLimitMs; performance.now() < until; await delay(pollMs)) {
    if (server.hasExited()) return false;
    if ((await isHealthy(url)) && !server.hasExited()) return true;
  }
  await server.end(stopSteps);
  return false;
}

/**
 * Starts Kafka Connect (distributed) with Debezium's connector on the loopback address and returns when its REST
 * takes orders. Throws a FreshetError with one message; then nothing of it is left running.
 */
export async function startLocalConnect(options: ConnectOptions): Promise<LocalConnect> {
  const { runtime, folder, logFile, brokers, group = 'freshet-connect' } = options;
  const name = 'Kafka Connect';
  const passwordFolder = passwordFolderOf(folder);
  const file = join(folder, 'worker.properties');
  mkdirSync(passwordFolder, { recursive: true, mode: 0o700 });
  await stopLeftoverConnect(folder, options.say ?? (() => {}));
  for (let takenPorts = 0; ; ) {
    const port = await portOr(options.port);
    const url = `http://127.0.0.1:${port}`;
    const own = {
      'bootstrap.servers': brokers,
      listeners: url,
      'group.id': group,
      'config.storage.topic': `${group}-configs`,
      'offset.storage.topic': `${group}-offsets`,
      'status.storage.topic': `${group}-status`,
      'plugin.path': runtime.plugins,
      'config.providers.file.param.allowed.paths': passwordFolder,
    };
    writeFileSync(
      file,
      propertiesText({ ...connectSettings, ...localSettings, ...options.settings, ...own }),
    );
    const server = await runServer({
      name,
      command: runtime.java,
      args: jvmArguments(runtime, folder, maxHeapMb, 'org.apache.kafka.connect.cli.ConnectDistributed', file),
      logFile,
    });
    noteServer(folder, server.pid);
    if (await untilReady(server, url)) {
      const forget = (): void => forgetServer(folder);
      return {
        name,
        pid: server.pid,
        port,
        url,
        passwordFolder,
        exited: server.exited,
        stop: () => server.end(stopSteps).then(forget),
        kill: () => server.end([['SIGKILL', 5_000]]).then(forget),
      };
    }
    const printed = server.printed();
    if (/Address already in use/.test(printed) && ++takenPorts < portAttempts) continue;
    throw new FreshetError({
      code: 'connect-not-started',
      message: `${name} did not start: ${lastReason(printed)}`,
      hint: `Its whole log: ${logFile}. \`npm run reset\` forgets the data and starts anew.`,
    });
  }
}

/** Writes the file that a connector's `${file:<path>:password}` leads to, for this user alone; its path. */
export function writePasswordFile(passwordFolder: string, connector: string, password: string): string {
  const file = join(passwordFolder, `${connector}.properties`);
  writeFileSync(file, propertiesText({ password }), { mode: 0o600 });
  return file;
}
