/**
 * Two clocks. Durations and ages come only from the monotonic one; the wall clock is for people and for
 * noticing that the machine slept (the monotonic clock of Linux stands still during a suspend).
 */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch; may jump. */
  wallMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
