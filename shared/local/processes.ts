import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Which process a number means. Numbers are given out again (after a restart of a container within seconds), so
 * nothing is ever signalled because of a number alone.
 */
export interface ProcessMark {
  readonly pid: number;
  /** When it started, in the words of the operating system: equal for the same process, nothing more. */
  readonly started: string;
}

/** Signals in turn, each with its time in milliseconds. */
export type StopSteps = readonly (readonly [NodeJS.Signals, number])[];

const onLinux = process.platform === 'linux';
const pollMs = 20;

const ask = (pid: number, column: string): string | null => {
  try {
    return execFileSync('ps', ['-o', `${column}=`, '-p', String(pid)], { encoding: 'utf8' }).trim() || null;
  } catch {
    return null;
  }
};

/** The mark of a living process; null when there is none, or only its unreaped remains. */
export function markOf(pid: number): ProcessMark | null {
  if (!onLinux) {
    const started = ask(pid, 'lstart');
    return started === null ? null : { pid, started };
  }
  try {
    // proc(5): the name stands in brackets and may contain anything; state follows, start time is field 22.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : { pid, started: fields[19]! };
  } catch {
    return null;
  }
}

export const isAlive = (mark: ProcessMark): boolean => markOf(mark.pid)?.started === mark.started;

/** The command line of a process, arguments separated by blanks; null when it does not run. */
export function commandOf(pid: number): string | null {
  if (!onLinux) return ask(pid, 'args');
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() || null;
  } catch {
    return null;
  }
}

/** Ends a process that is not a child of ours: each signal in turn, each with its time; false if it lives on. */
export async function endProcess(mark: ProcessMark, steps: StopSteps): Promise<boolean> {
  for (const [signal, limitMs] of steps) {
    try {
      process.kill(mark.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EPERM') return false;
    }
    for (const until = performance.now() + limitMs; performance.now() < until; await delay(pollMs)) {
      if (!isAlive(mark)) return true;
    }
  }
  return !isAlive(mark);
}
