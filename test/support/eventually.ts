import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';

const firstPauseMs = 1;
const longestPauseMs = 50;

/**
 * Waits until what `probe` sees is accepted, and returns it. On timeout it throws with what was seen last, which
 * usually is the answer to why. An error of the probe counts as something seen.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  accept: (seen: T) => boolean,
  timeoutMs = 10_000,
): Promise<T> {
  const until = performance.now() + timeoutMs;
  let last: unknown;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    try {
      const seen = await probe();
      if (accept(seen)) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= until) {
      throw new Error(`${what}: not within ${timeoutMs} ms; last seen: ${inspect(last, { depth: 6 })}`);
    }
    await delay(pauseMs);
  }
}
