import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { FreshetError } from '../errors.ts';
import type { StopSteps } from './processes.ts';

/** A server that runs: the address to reach it by, and the ways to end it. */
export interface LocalServer {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly url: string;
  /** Resolves with how it ended, whoever ended it. */
  readonly exited: Promise<string>;
  /** Orderly stop, harder after a bounded wait; returns when the process is gone. */
  stop(): Promise<void>;
  /** SIGKILL: what a crash or the kernel's memory killer would do. */
  kill(): Promise<void>;
}

export interface ServerCommand {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Where everything it prints goes; appended. */
  readonly logFile: string;
  /** Written to its standard input. */
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
}

export interface RunningCommand {
  readonly pid: number;
  readonly exited: Promise<string>;
  readonly hasExited: () => boolean;
  /** What it printed since this start. */
  readonly printed: () => string;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Throws when it outlives all the steps. */
  readonly end: (steps: StopSteps) => Promise<void>;
}

/**
 * Starts a server in a process group of its own: a terminal sends Ctrl-C to the whole foreground group, and the
 * stores must outlive the processes that still write to them. Its output goes straight to a file, so that it can
 * go on printing should this process die.
 */
export async function runServer(server: ServerCommand): Promise<RunningCommand> {
  const log = openSync(server.logFile, 'a', 0o640);
  const logStart = fstatSync(log).size;
  let child: ChildProcess;
  try {
    child = spawn(server.command, server.args, {
      stdio: [server.input === undefined ? 'ignore' : 'pipe', log, log],
      detached: true,
      cwd: '/',
      ...(server.env && { env: server.env }),
      ...(server.uid !== undefined && { uid: server.uid }),
      ...(server.gid !== undefined && { gid: server.gid }),
    });
  } finally {
    closeSync(log);
  }
  const ended = new Promise<string>(resolve => {
    child.once('exit', (code, signal) => resolve(signal ? `ended by ${signal}` : `exit code ${code}`));
    child.once('error', error => resolve(error.message));
  });
  let isOver = false;
  const exited = ended.finally(() => {
    isOver = true;
  });
  if (child.stdin && server.input !== undefined) {
    child.stdin.on('error', () => {}); // It ended before reading: `exited` says so.
    child.stdin.end(server.input);
  }
  if (child.pid === undefined) {
    const [error] = await once(child, 'spawn').catch((cause: unknown) => [cause]);
    throw new FreshetError({
      code: 'server-not-started',
      message: `${server.name} could not be started: ${error instanceof Error ? error.message : error}`,
      cause: error,
    });
  }
  const { pid } = child;
  return {
    pid,
    exited,
    hasExited: () => isOver,
    printed: () => readFileSync(server.logFile).subarray(logStart).toString('utf8'),
    signal: signal => void child.kill(signal),
    async end(steps) {
      for (const [signal, limitMs] of steps) {
        if (isOver) return;
        child.kill(signal);
        let timer: NodeJS.Timeout | undefined;
        const limit = new Promise(resolve => {
          timer = setTimeout(resolve, limitMs);
        });
        await Promise.race([exited, limit]).finally(() => clearTimeout(timer));
      }
      if (!isOver) {
        throw new FreshetError({
          code: 'server-not-stopped',
          message: `${server.name} (process ${pid}) is still running after ${steps.map(([signal]) => signal).join(', ')}`,
        });
      }
    },
  };
}
