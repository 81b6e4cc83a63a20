import { type ChildProcess, spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Said } from './cli.ts';

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

/** A command of the real command line that runs; nothing of this process's own settings reaches it. */
export interface RunningCli {
  /** What it printed so far. */
  printed(): string;
  readonly ended: Promise<Said>;
  readonly child: ChildProcess;
}

export function startCli(words: readonly string[], env: Readonly<Record<string, string>>): RunningCli {
  const { PATH } = process.env;
  // A folder without a configuration and without `.env`.
  const child = spawn(process.execPath, [entry, ...words], { env: { PATH, ...env }, cwd: tmpdir() });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
  return {
    child,
    printed: () => text,
    ended: new Promise(resolve => child.once('close', code => resolve({ code: code ?? -1, text }))),
  };
}

export const runCli = (words: readonly string[], env: Readonly<Record<string, string>>): Promise<Said> =>
  startCli(words, env).ended;
