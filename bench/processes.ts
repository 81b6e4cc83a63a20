import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cores, onServerCore } from './cores.ts';

/** A program of this project, run as a process of its own. */
export interface Program {
  readonly pid: number;
  /** What it sent when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Sends a word and waits for the next one that comes back. */
  ask(word: object): Promise<Record<string, unknown>>;
  /** SIGTERM, and gone when it resolves. */
  stop(): Promise<void>;
}

export interface ProgramOptions {
  readonly entry: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** The server under measurement; absent: wherever this process is. */
  readonly serverCores?: Cores | null;
  /** Options of Node, for profiles. */
  readonly nodeOptions?: readonly string[];
}

const home = fileURLToPath(new URL('..', import.meta.url));
const startLimitMs = 30_000;
const stopLimitMs = 15_000;

/** @throws what the program said when it did not start, with the end of its log. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const { entry, env, logFile, serverCores = null, nodeOptions = [] } = options;
  const log = openSync(logFile, 'a');
  const [command, ...args] = onServerCore(serverCores, [process.execPath, ...nodeOptions, join(home, entry)]);
  const child = spawn(command!, args, {
    cwd: home,
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', log, log, 'ipc'],
  });
  const exited = new Promise<void>(resolve => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), stopLimitMs);
    child.kill('SIGTERM');
    await exited;
    clearTimeout(timer);
  };
  try {
    const ready = await nextWord(child, startLimitMs);
    if (ready.type === 'failed') throw new Error(String(ready.message));
    return {
      pid: child.pid!,
      ready,
      ask(word) {
        const answer = nextWord(child);
        child.send(word);
        return answer;
      },
      stop,
    };
  } catch (error) {
    await stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${entry}: ${reason}\n${readFileSync(logFile, 'utf8').slice(-2_000)}`);
  }
}

function nextWord(child: ChildProcess, limitMs?: number): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      finish();
    };
    const onMessage = (word: unknown): void => settle(() => resolve(word as Record<string, unknown>));
    const onExit = (code: number | null): void =>
      settle(() => reject(new Error(`it ended with ${code} before it answered`)));
    const onError = (error: Error): void => settle(() => reject(error));
    const timer =
      limitMs === undefined
        ? undefined
        : setTimeout(() => settle(() => reject(new Error(`no answer within ${limitMs} ms`))), limitMs);
    child.once('message', onMessage).once('exit', onExit).once('error', onError);
  });
}

/** Gives a program a job. @throws what went wrong with it. */
export async function order<T>(program: Program, job: object): Promise<T> {
  const { result, error } = await program.ask(job);
  if (error !== undefined) throw new Error(String(error));
  return result as T;
}

/** Processor time a process has used until now, in milliseconds; null where the system does not tell. */
export function cpuMsOf(pid: number): number | null {
  try {
    // proc(5): fields 14 and 15 are user and system time in clock ticks, which are 1/100 s on every Linux.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return null;
  }
}
