import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../../shared/errors.ts';
import { forgetServer, noteServer, stopLeftover } from '../../shared/local/leftover.ts';
import { freePort, portOr } from '../../shared/local/ports.ts';
import { type LocalServer, type RunningCommand, runServer } from '../../shared/local/server-process.ts';

/** The cache may forget anything at any moment; the queue must forget nothing. */
export type RedisRole = 'cache' | 'queue';

export interface RedisOptions {
  readonly role: RedisRole;
  /** `redis-server` or `valkey-server`. */
  readonly binary: string;
  /** Its own folder; made where it is missing. */
  readonly folder: string;
  readonly logFile: string;
  /** Taken where it is free. */
  readonly port?: number | undefined;
  readonly password: string;
  /** Further settings of the server, by name. */
  readonly settings?: Readonly<Record<string, string | number>>;
  readonly say?: (line: string) => void;
}

const readyLimitMs = 30_000; // The queue's journal is read before the first answer.
const pingLimitMs = 1_000;
const pollMs = 5;
const portAttempts = 3;
const stopSteps = [
  ['SIGTERM', 10_000],
  ['SIGKILL', 5_000],
] as const;

const roleSettings: Readonly<Record<RedisRole, Readonly<Record<string, string | number>>>> = {
  // No persistence: after a restart the cache must be seen to be empty, never to be old. And a failed
  // snapshot would make it refuse deletions and scripts while it goes on answering reads (MISCONF).
  cache: { maxmemory: '256mb', 'maxmemory-policy': 'allkeys-lfu', save: '""', appendonly: 'no' },
  queue: { 'maxmemory-policy': 'noeviction', save: '""', appendonly: 'yes', appendfsync: 'everysec' },
};

/** A server that outlived the process that started it: two would write one journal. */
export const stopLeftoverRedis = (
  role: RedisRole,
  folder: string,
  say: (line: string) => void,
): Promise<void> => stopLeftover(`${role} Redis`, folder, stopSteps, say);

/** Whether the server answers a PING after AUTH: it listens before it has read its journal. */
function answers(port: number, password: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, timeout: pingLimitMs });
    let seen = '';
    const end = (verdict: boolean): void => {
      socket.destroy();
      resolve(verdict);
    };
    socket.on('connect', () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.on('data', chunk => {
      seen += chunk.toString('latin1');
      if (seen.split('\r\n').length > 2) end(seen.includes('+PONG'));
    });
    socket.on('error', () => end(false));
    socket.on('timeout', () => end(false));
    socket.on('close', () => end(false));
  });
}

async function untilReady(server: RunningCommand, port: number, password: string): Promise<boolean> {
  for (const until = performance.now() + readyLimitMs; performance.now() < until; await delay(pollMs)) {
    if (server.hasExited()) return false;
    // An answer from a port that somebody else took is no answer: ours must still be running after it.
    if ((await answers(port, password)) && !server.hasExited()) return true;
  }
  await server.end(stopSteps);
  return false;
}

/** The configuration goes through standard input: the password would be readable in the list of processes. */
function configuration(options: RedisOptions, port: number): string {
  const lines = {
    bind: '127.0.0.1',
    port,
    'protected-mode': 'yes',
    requirepass: options.password,
    dir: JSON.stringify(options.folder),
    daemonize: 'no',
    supervised: 'no',
    ...roleSettings[options.role],
    ...options.settings,
  };
  return `${Object.entries(lines)
    .map(([name, value]) => `${name} ${value}`)
    .join('\n')}\n`;
}

/**
 * Starts a Redis on the loopback address and returns when it answers.
 * Throws a FreshetError with one message; then nothing of it is left running.
 */
export async function startLocalRedis(options: RedisOptions): Promise<LocalServer> {
  const name = `${options.role} Redis`;
  mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  await stopLeftoverRedis(options.role, options.folder, options.say ?? (() => {}));
  let port = await portOr(options.port);
  for (let takenPorts = 0; ; ) {
    const server = await runServer({
      name,
      command: options.binary,
      args: ['-'],
      input: configuration(options, port),
      logFile: options.logFile,
    });
    noteServer(options.folder, server.pid);
    if (await untilReady(server, port, options.password)) {
      const forget = (): void => forgetServer(options.folder);
      return {
        name,
        pid: server.pid,
        port,
        url: `redis://:${encodeURIComponent(options.password)}@127.0.0.1:${port}`,
        exited: server.exited,
        stop: () => server.end(stopSteps).then(forget),
        kill: () => server.end([['SIGKILL', 5_000]]).then(forget),
      };
    }
    const printed = server.printed();
    if (/Address already in use/.test(printed) && ++takenPorts < portAttempts) {
      port = await freePort();
      continue;
    }
    const reason =
      printed
        .trim()
        .split('\n')
        .findLast(line => / # |FATAL|[Ee]rror/.test(line)) ?? printed.trim();
    throw new FreshetError({
      code: 'redis-not-started',
      message: `The ${name} did not start: ${reason.replace(/^.* [#*] /, '') || 'it printed nothing'}`,
      hint: `Its whole log: ${options.logFile}. \`npm run reset\` forgets the data and starts anew.`,
    });
  }
}
