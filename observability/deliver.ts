import type { MeterProvider as MeterProviderApi } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { type MetricReader, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace';
import { produceFigures } from './collect.ts';
import type { Figures } from './figures.ts';

/**
 * Delivery over OTLP/HTTP. Everything here is bounded, because a receiver that is down must cost nothing but its
 * own data: spans wait in a queue that drops when it is full, and an export gives up before the next is due.
 */

/** About 20 s of spans at the full rate of traces; the SDK's default of 2,048 drops bursts. */
const SPAN_QUEUE_SIZE = 8_192;
const SPAN_BATCH_SIZE = 512;
/** Retries included. Also the longest that an export can keep a process from ending. */
export const EXPORT_TIMEOUT_MS = 2_000;

/** Told when delivery begins to fail (with the reason) and when it works again (with null), not each time. */
export type OnDelivery = (signal: 'traces' | 'metrics', error: Error | null) => void;

export function deliverSpans(
  url: string,
  delayMs: number,
  selfObsMeterProvider: MeterProviderApi,
  onDelivery: OnDelivery,
): SpanProcessor {
  const exporter = watched(new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS }), error =>
    onDelivery('traces', error),
  );
  return new BatchSpanProcessor({
    exporter,
    maxQueueSize: SPAN_QUEUE_SIZE,
    maxExportBatchSize: SPAN_BATCH_SIZE,
    scheduledDelayMillis: delayMs,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS,
    selfObsMeterProvider,
  });
}

export function deliverMetrics(
  url: string,
  intervalMs: number,
  figures: Figures,
  onDelivery: OnDelivery,
): MetricReader {
  const exporter = watched(new OTLPMetricExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS }), error =>
    onDelivery('metrics', error),
  );
  return new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: Math.min(EXPORT_TIMEOUT_MS, intervalMs),
    metricProducers: [produceFigures(figures, { emptyFamilies: false })],
  });
}

interface Exporter<Items> {
  export(items: Items, done: (result: { code: number; error?: Error }) => void): void;
}

/** The same exporter, whose changes between working and failing are told. */
function watched<Items, E extends Exporter<Items>>(
  exporter: E & Exporter<Items>,
  tell: (error: Error | null) => void,
): E {
  const send = exporter.export.bind(exporter);
  let failing = false;
  exporter.export = (items, done) =>
    send(items, result => {
      const failed = result.code !== 0;
      if (failed !== failing) {
        failing = failed;
        tell(failed ? (result.error ?? new Error('the receiver refused without a reason')) : null);
      }
      done(result);
    });
  return exporter;
}
