/** Figures made of samples. `samples` need no order; the answers are NaN where there are none. */

/** The value below which `share` (0 to 1) of the samples lie; nearest rank. */
export function percentile(samples: Iterable<number>, share: number): number {
  const sorted = Float64Array.from(samples).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export const median = (samples: Iterable<number>): number => {
  const sorted = Float64Array.from(samples).sort();
  const middle = sorted.length / 2;
  return Number.isInteger(middle)
    ? ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
    : sorted[Math.floor(middle)]!;
};

/** Every figure's own median. */
export function mediansOf<T extends object>(results: readonly T[]): T {
  const names = Object.keys(results[0]!) as (keyof T)[];
  return Object.fromEntries(
    names.map(name => [name, median(results.map(result => Number(result[name])))]),
  ) as T;
}

/** The same numbers for the same seed (mulberry32), uniform in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `length` places below `count` by Zipf's law: the place at rank r comes up in proportion to 1/r. */
export function zipfPlaces(count: number, length: number, random: () => number): Uint32Array {
  const upTo = new Float64Array(count);
  let sum = 0;
  for (let i = 0; i < count; i += 1) {
    sum += 1 / (i + 1);
    upTo[i] = sum;
  }
  return Uint32Array.from({ length }, () => firstAtLeast(upTo, random() * sum));
}

function firstAtLeast(rising: Float64Array, value: number): number {
  let [low, high] = [0, rising.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
