import {
  constants,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
  performance,
} from 'node:perf_hooks';
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';
import type { Figures } from './figures.ts';

const DELAY_RESOLUTION_MS = 20;
/** Readings of the event loop start anew after this time: long enough that two readers share a reading. */
const WINDOW_MS = 10_000;

const GC_TYPES: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
};

/** A `gc` entry; the types of Node do not tell entries apart. */
type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } };

/** What Node and V8 know about this process. Returns how to stop watching. */
export function watchRuntime(figures: Figures): () => void {
  const stopLoop = watchEventLoop(figures);
  const stopCollector = watchGarbageCollector(figures);
  const used = figures.family('v8js.memory.heap.used');
  const limit = figures.family('v8js.memory.heap.limit').of();
  figures.beforeCollect(() => {
    for (const space of getHeapSpaceStatistics()) used.of(space.space_name).set(space.space_used_size);
    limit.set(getHeapStatistics().heap_size_limit);
  });
  return () => {
    stopLoop();
    stopCollector();
  };
}

function watchEventLoop(figures: Figures): () => void {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  delay.enable();
  const p50 = figures.family('nodejs.eventloop.delay.p50').of();
  const p99 = figures.family('nodejs.eventloop.delay.p99').of();
  const max = figures.family('nodejs.eventloop.delay.max').of();
  const utilization = figures.family('nodejs.eventloop.utilization').of();
  let windowFromMs = performance.now();
  let usedBefore = performance.eventLoopUtilization();
  figures.beforeCollect(() => {
    // Node measures the distance of two wake-ups: what exceeds the resolution is the delay.
    const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - DELAY_RESOLUTION_MS) / 1e3;
    const measured = delay.count > 0;
    p50.set(measured ? seconds(delay.percentile(50)) : null);
    p99.set(measured ? seconds(delay.percentile(99)) : null);
    max.set(measured ? seconds(delay.max) : null);
    utilization.set(performance.eventLoopUtilization(usedBefore).utilization);
    if (performance.now() - windowFromMs < WINDOW_MS) return;
    windowFromMs = performance.now();
    usedBefore = performance.eventLoopUtilization();
    delay.reset();
  });
  return () => delay.disable();
}

function watchGarbageCollector(figures: Figures): () => void {
  const duration = figures.family('v8js.gc.duration');
  const observer = new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as GcEntry).detail;
      duration.of(GC_TYPES[kind] ?? 'other').record(entry.duration / 1e3);
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}
