import { type ChildProcess, fork } from 'node:child_process';
import cluster from 'node:cluster';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { FreshetError } from '../../shared/errors.ts';
import type { Running } from './kept.ts';

export type Role = 'api' | 'worker';

export interface RunningChild extends Running {
  readonly role: Role;
  /** Base URL of the child's own admin listener. */
  readonly metrics: string;
}

export interface ChildOptions {
  readonly role: Role;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
}

/** What a child says over its channel. */
type Word =
  | { readonly type: 'ready'; readonly role: Role; readonly metrics: string }
  | { readonly type: 'failed'; readonly message: string };

const readyLimitMs = 60_000;
const stopLimitMs = 15_000;
const shownLogLines = 5;

const entry = (role: Role): string =>
  fileURLToPath(new URL(role === 'api' ? '../../api/main.ts' : '../../workers/main.ts', import.meta.url));

function launch({ role, env, logFile }: ChildOptions): ChildProcess {
  const log = openSync(logFile, 'a', 0o640);
  const stdio = ['ignore', log, log, 'ipc'] as const;
  try {
    // A group of its own: a terminal's Ctrl-C must not end the worker before the API has answered its last request.
    if (role === 'worker') return fork(entry(role), { stdio: [...stdio], env, detached: true });
    // API processes share one port: the cluster module listens once and deals out the connections.
    cluster.setupPrimary({ exec: entry(role), args: [], stdio: [...stdio] });
    return cluster.fork(env).process;
  } finally {
    closeSync(log);
  }
}

const lastLines = (logFile: string): string =>
  readFileSync(logFile, 'utf8').trim().split('\n').slice(-shownLogLines).join('\n');

/** Resolves with the child's address once it says that it is ready; rejects with what it says instead. */
function untilReady(child: ChildProcess, exited: Promise<string>, options: ChildOptions): Promise<string> {
  const { role, logFile } = options;
  return new Promise((resolve, reject) => {
    const fail = (message: string): void => {
      reject(new FreshetError({ code: `${role}-not-started`, message, hint: `Its whole log: ${logFile}` }));
    };
    const timer = setTimeout(
      () => fail(`The ${role} was not ready within ${readyLimitMs / 1000} s`),
      readyLimitMs,
    );
    child.on('message', (word: Word) => {
      if (word.type === 'ready') resolve(word.metrics);
      if (word.type === 'failed') fail(`The ${role} did not start: ${word.message}`);
    });
    exited.then(how => {
      clearTimeout(timer);
      fail(`The ${role} did not start (${how}):\n${lastLines(logFile)}`);
    });
  });
}

/** Starts an API process or the worker and returns when it is ready. */
export async function startChild(options: ChildOptions): Promise<RunningChild> {
  const child = launch(options);
  let isOver = false;
  const exited = new Promise<string>(resolve => {
    child.once('exit', (code, signal) => resolve(signal ? `ended by ${signal}` : `exit code ${code}`));
    child.once('error', error => resolve(error.message));
  }).finally(() => {
    isOver = true;
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (isOver) return;
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), stopLimitMs);
    await exited;
    clearTimeout(timer);
  };
  const giveUp = (): void => void child.kill('SIGTERM');
  options.signal.addEventListener('abort', giveUp);
  try {
    const metrics = await untilReady(child, exited, options);
    return {
      role: options.role,
      pid: child.pid!,
      metrics,
      exited,
      stop: () => end('SIGTERM'),
      kill: () => end('SIGKILL'),
    };
  } catch (error) {
    await end('SIGTERM');
    throw error;
  } finally {
    options.signal.removeEventListener('abort', giveUp);
  }
}
