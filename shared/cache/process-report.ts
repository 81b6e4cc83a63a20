import type { Clock } from '../clock.ts';
import type { CacheStore, ProcessReport } from './store.ts';

const EVERY_MS = 1_000;

/** Tells about this process every second, and takes its record away at the end. */
export function reportProcess(
  store: CacheStore,
  clock: Clock,
  describe: () => ProcessReport,
): { stop(): Promise<void> } {
  const report = (): void => {
    const record = { ...describe(), at: clock.wallMs() };
    // While Redis is away nobody reads it either.
    store.reportProcess(record).catch(() => {});
  };
  const timer = setInterval(report, EVERY_MS);
  report();
  return {
    async stop() {
      clearInterval(timer);
      await store.forgetProcess(describe().id).catch(() => {});
    },
  };
}
