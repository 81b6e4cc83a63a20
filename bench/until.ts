import { setTimeout as delay } from 'node:timers/promises';

const WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

/** Looks until `accept` says yes. @throws Error that names `what` when it does not within `withinMs`. */
export async function until(
  what: string,
  accept: () => boolean | Promise<boolean>,
  withinMs = WITHIN_MS,
): Promise<void> {
  for (const endMs = performance.now() + withinMs; !(await accept()); await delay(LOOK_EVERY_MS)) {
    if (performance.now() >= endMs) throw new Error(`${what}: not within ${withinMs} ms`);
  }
}
