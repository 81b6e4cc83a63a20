import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const home = fileURLToPath(new URL('..', import.meta.url));

/** Runs a program of the project under this Node, everything it prints passed on; resolves with its exit code. */
export async function runProgram(
  args: readonly string[],
  onStart: (child: ChildProcess) => void = () => {},
): Promise<number> {
  const child = spawn(process.execPath, args, {
    cwd: home,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: process.env,
  });
  onStart(child);
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  const end = (): void => passOn('SIGTERM');
  process.on('SIGINT', passOn).on('SIGTERM', passOn).on('disconnect', end);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
    });
  } finally {
    process.off('SIGINT', passOn).off('SIGTERM', passOn).off('disconnect', end);
  }
}
