import { cpuMsOf } from './processes.ts';

/** Who takes part in following changes, and may be asked what it costs. */
export type Part = 'worker' | 'connect' | 'broker';

/** Processor time by part, in milliseconds; a part is missing where there is none, or the system does not tell. */
export type CpuMs = Readonly<Partial<Record<Part, number>>>;

export interface Reading {
  readonly tookMs: number;
  readonly cpuMs: CpuMs;
}

/** Starts counting what these processes use; the answer tells what they have used since. */
export function meter(pids: Readonly<Partial<Record<Part, number>>>): () => Reading {
  const parts = Object.entries(pids) as [Part, number][];
  const startMs = performance.now();
  const before = parts.map(([part, pid]) => [part, pid, cpuMsOf(pid)] as const);
  return () => {
    const cpuMs: Partial<Record<Part, number>> = {};
    for (const [part, pid, then] of before) {
      const now = cpuMsOf(pid);
      if (then !== null && now !== null) cpuMs[part] = now - then;
    }
    return { tookMs: performance.now() - startMs, cpuMs };
  };
}

/** Share of one core, 0 to 1 and more; NaN where it is not known. */
export const shareOf = ({ tookMs, cpuMs }: Reading, part: Part): number =>
  (cpuMs[part] ?? Number.NaN) / tookMs;

/** Processor time for one row, in microseconds; NaN where it is not known. */
export const usARow = ({ cpuMs }: Reading, part: Part, rows: number): number =>
  ((cpuMs[part] ?? Number.NaN) * 1e3) / rows;
