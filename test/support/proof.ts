import { eventually } from './eventually.ts';
import type { ApiProcess, TestProcess } from './world.ts';

/** Age of the newest proof in milliseconds, as the process tells; null where it has none. */
async function proofAgeMs({ metrics }: Pick<TestProcess, 'metrics'>): Promise<number | null> {
  const text = await (await fetch(`${metrics}/metrics`)).text();
  const [, seconds] = /^freshet_cache_proof_age_seconds(?:\{.*\})? (\S+)$/m.exec(text) ?? [];
  return seconds === undefined ? null : Number(seconds) * 1000;
}

/**
 * Waits until it is proven that everything committed before `sinceMs` (performance.now) is applied. Resolves with the
 * milliseconds that took, counted from then.
 */
export async function untilProvenSince(api: ApiProcess, sinceMs: number, limitMs = 30_000): Promise<number> {
  await eventually(
    `the API holds a proof from after ${Math.round(performance.now() - sinceMs)} ms ago`,
    async () => {
      const askedMs = performance.now();
      const ageMs = await proofAgeMs(api);
      return ageMs === null ? null : askedMs - ageMs - sinceMs;
    },
    aheadMs => aheadMs !== null && aheadMs >= 0,
    limitMs,
  );
  return performance.now() - sinceMs;
}

/** For how long since `sinceMs` (Unix time) the API was in another mode than FRESH, by its own log. */
export function unprovenMs(api: ApiProcess, sinceMs: number): number {
  let leftMs: number | null = null;
  let sumMs = 0;
  for (const line of api.log().split('\n')) {
    if (!line.includes('"event":"mode.changed"')) continue;
    const { time, from, to } = JSON.parse(line) as { time: string; from: string; to: string };
    const atMs = Math.max(sinceMs, Date.parse(time));
    if (from === 'FRESH') leftMs = atMs;
    if (to !== 'FRESH' || leftMs === null) continue;
    sumMs += atMs - leftMs;
    leftMs = null;
  }
  return leftMs === null ? sumMs : sumMs + Date.now() - leftMs;
}

/** A line of figures among the results of the tests. */
export const printFigures = (what: string, figures: Readonly<Record<string, number | string>>): void => {
  const told = Object.entries(figures).map(
    ([name, value]) => `${name} ${typeof value === 'number' ? Math.round(value) : value}`,
  );
  process.stdout.write(`${what}: ${told.join(', ')}\n`);
};
