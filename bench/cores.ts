import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';

/** Which core each side of a measurement has for itself; null where processes cannot be tied to cores here. */
export interface Cores {
  readonly server: number;
  readonly rest: number;
}

/** Cores this process may use, by taskset; none where there is no taskset. */
function allowedCores(): number[] {
  try {
    const printed = execFileSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' });
    return printed
      .slice(printed.lastIndexOf(':') + 1)
      .trim()
      .split(',')
      .flatMap(part => {
        const [first, last = first] = part.split('-').map(Number) as [number, number?];
        return Array.from({ length: last! - first + 1 }, (_, i) => first + i);
      });
  } catch {
    return [];
  }
}

/**
 * Moves this process to the second core, and with it everything it starts without saying otherwise: the stores, the
 * load generator, the writers. The first core is left to the server that is measured.
 */
export function divideCores(say: (line: string) => void): Cores | null {
  const [server, rest] = allowedCores();
  if (server === undefined || rest === undefined) {
    say(
      'No two cores to divide by taskset: server, stores and load share the machine as the scheduler likes.',
    );
    return null;
  }
  execFileSync('taskset', ['-a', '-cp', String(rest), String(process.pid)], { stdio: 'ignore' });
  return { server, rest };
}

export const coreCount = (): number => cpus().length;

/** A command line that runs on the server's core. */
export const onServerCore = (cores: Cores | null, command: readonly string[]): readonly string[] =>
  cores === null ? command : ['taskset', '-c', String(cores.server), ...command];
