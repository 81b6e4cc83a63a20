import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { FreshetError } from '../../shared/errors.ts';
import { forgetServer, noteServer, stopLeftover } from '../../shared/local/leftover.ts';
import { freePort, portOr } from '../../shared/local/ports.ts';
import { type LocalServer, type RunningCommand, runServer } from '../../shared/local/server-process.ts';
import { type Properties, propertiesText } from './properties.ts';
import { jvmArguments, type KafkaRuntime, lastReason } from './runtime.ts';

export interface BrokerOptions {
  readonly runtime: KafkaRuntime;
  /** Its own folder; made where it is missing. */
  readonly folder: string;
  readonly logFile: string;
  /** Taken where it is free. */
  readonly port?: number | undefined;
  /** Further settings of the broker, by name. */
  readonly settings?: Properties;
  readonly say?: (line: string) => void;
}

export interface LocalBroker extends LocalServer {
  /** What FRESHET_KAFKA_BROKERS takes. */
  readonly brokers: string;
}

const run = promisify(execFile);
const maxHeapMb = 256;
const formatLimitMs = 60_000;
const readyLimitMs = 60_000; // After a crash the logs are read before the first answer.
const probeLimitMs = 1_000;
const pollMs = 20;
const portAttempts = 3;
const stopSteps = [
  ['SIGTERM', 6_000],
  ['SIGKILL', 5_000],
] as const;

/** One broker on one machine, for one user. */
export const brokerSettings: Properties = {
  'process.roles': 'broker,controller',
  'node.id': 1,
  'controller.listener.names': 'CONTROLLER',
  'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
  'auto.create.topics.enable': false,
  // There is one copy of everything.
  'default.replication.factor': 1,
  'min.insync.replicas': 1,
  'offsets.topic.replication.factor': 1,
  'transaction.state.log.replication.factor': 1,
  'transaction.state.log.min.isr': 1,
  'share.coordinator.state.topic.replication.factor': 1,
  'share.coordinator.state.topic.min.isr': 1,
  'offsets.topic.num.partitions': 1,
  'transaction.state.log.num.partitions': 1,
  'share.coordinator.state.topic.num.partitions': 1,
  // A consumer that joins need not wait whether others come.
  'group.initial.rebalance.delay.ms': 0,
  // Members of a group may ask to be missed sooner than after six seconds.
  'group.min.session.timeout.ms': 1_000,
  // A broker killed -9 is let in again after these instead of after nine seconds.
  'broker.session.timeout.ms': 3_000,
  'broker.heartbeat.interval.ms': 500,
  // A machine that was switched off over the holidays must find its position again.
  'offsets.retention.minutes': 525_600,
  // Bounds the disk: four partitions hold two gigabytes.
  'log.segment.bytes': 64 * 1024 * 1024,
  'log.retention.bytes': 512 * 1024 * 1024,
  'num.network.threads': 2,
  'num.io.threads': 2,
  'log.cleaner.dedupe.buffer.size': 4 * 1024 * 1024,
};

export const stopLeftoverBroker = (folder: string, say: (line: string) => void): Promise<void> =>
  stopLeftover('Kafka broker', folder, stopSteps, say);

/** A request for metadata of no topic (version 1): length, API 3, version, correlation, no client id, no topics. */
const metadataRequest = Buffer.from('0000000e000300010000000affff00000000', 'hex');
const knownBrokersAt = 8; // After length and correlation.

/** Whether the broker answers and has been let into its cluster: it listens before that. */
function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, timeout: probeLimitMs });
    let seen = Buffer.alloc(0);
    const end = (verdict: boolean): void => {
      socket.destroy();
      resolve(verdict);
    };
    socket.on('connect', () => socket.write(metadataRequest));
    socket.on('data', chunk => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.length >= knownBrokersAt + 4) end(seen.readInt32BE(knownBrokersAt) > 0);
    });
    socket.on('error', () => end(false));
    socket.on('timeout', () => end(false));
    socket.on('close', () => end(false));
  });
}

async function untilReady(server: RunningCommand, port: number): Promise<boolean> {
  for (const until = performance.now() + readyLimitMs; performance.now() < until; await delay(pollMs)) {
    if (server.hasExited()) return false;
    // An answer from a port that somebody else took is no answer: ours must still be running after it.
    if ((await answers(port)) && !server.hasExited()) return true;
  }
  await server.end(stopSteps);
  return false;
}

const clusterId = (): string => {
  // The command line would take a leading hyphen for an option.
  for (;;) {
    const id = randomBytes(16).toString('base64url');
    if (!id.startsWith('-')) return id;
  }
};

/** Makes the log folder of a new broker. The tool writes `meta.properties` last: without it nothing counts. */
async function format({ runtime, folder }: BrokerOptions, data: string, properties: string): Promise<void> {
  if (existsSync(join(data, 'meta.properties'))) return;
  rmSync(data, { recursive: true, force: true });
  const tool = ['kafka.tools.StorageTool', 'format', '--standalone', '-t', clusterId(), '-c', properties];
  try {
    await run(runtime.java, jvmArguments(runtime, folder, maxHeapMb, ...tool), {
      cwd: '/',
      timeout: formatLimitMs,
    });
  } catch (cause) {
    const { stdout, stderr } = cause as { stdout?: string; stderr?: string };
    throw new FreshetError({
      code: 'kafka-not-made',
      message: `Kafka's log folder ${data} could not be made: ${lastReason(`${stdout ?? ''}${stderr ?? ''}`)}`,
      cause,
    });
  }
}

/**
 * Starts a Kafka broker on the loopback address and returns when it takes requests. The data outlives a change of
 * its port. Throws a FreshetError with one message; then nothing of it is left running.
 */
export async function startLocalBroker(options: BrokerOptions): Promise<LocalBroker> {
  const { runtime, folder, logFile } = options;
  const name = 'Kafka broker';
  const data = join(folder, 'data');
  const file = join(folder, 'broker.properties');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await stopLeftoverBroker(folder, options.say ?? (() => {}));
  let port = await portOr(options.port);
  for (let takenPorts = 0; ; ) {
    // Nobody but the broker itself talks to its controller.
    const controllerPort = await freePort();
    const addresses = {
      listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
      'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
      'controller.quorum.bootstrap.servers': `127.0.0.1:${controllerPort}`,
      'log.dirs': data,
    };
    writeFileSync(file, propertiesText({ ...brokerSettings, ...options.settings, ...addresses }));
    await format(options, data, file);
    const server = await runServer({
      name,
      command: runtime.java,
      args: jvmArguments(runtime, folder, maxHeapMb, 'kafka.Kafka', file),
      logFile,
    });
    noteServer(folder, server.pid);
    if (await untilReady(server, port)) {
      const forget = (): void => forgetServer(folder);
      const brokers = `127.0.0.1:${port}`;
      return {
        name,
        pid: server.pid,
        port,
        url: brokers,
        brokers,
        exited: server.exited,
        stop: () => server.end(stopSteps).then(forget),
        kill: () => server.end([['SIGKILL', 5_000]]).then(forget),
      };
    }
    const printed = server.printed();
    if (/Address already in use/.test(printed) && ++takenPorts < portAttempts) {
      port = await portOr(options.port);
      continue;
    }
    throw new FreshetError({
      code: 'kafka-not-started',
      message: `The ${name} did not start: ${lastReason(printed)}`,
      hint: `Its whole log: ${logFile}. \`npm run reset\` forgets the data and starts anew.`,
    });
  }
}
