import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, type MetricReader } from '@opentelemetry/sdk-metrics';
import { AlwaysOffSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import type { DestinationStream } from 'pino';
import type { Observation, Observer } from '../shared/observe.ts';
import { PullReader } from './collect.ts';
import { askGauges, countObservations } from './count.ts';
import { deliverMetrics, deliverSpans, type OnDelivery } from './deliver.ts';
import { Figures } from './figures.ts';
import { createLogs } from './logs.ts';
import { watchRuntime } from './runtime-metrics.ts';
import { readTelemetrySettings } from './settings.ts';
import { budgetSampler, TraceBudget } from './trace-budget.ts';
import { createTracing } from './traces.ts';

export interface TelemetryOptions {
  readonly role: 'api' | 'worker' | 'supervisor';
  /** Names this process among all: `service.instance.id`, and the label `process` on every sample. */
  readonly instance: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where log lines go; stdout unless given. */
  readonly logTo?: DestinationStream;
}

export interface Telemetry {
  readonly observer: Observer;
  /** Prometheus text exposition, format 0.0.4. Rejects once closed. */
  metricsText(): Promise<string>;
  /** Hands over what is left; takes at most CLOSE_LIMIT_MS, whatever the receiver does, and never rejects. */
  close(): Promise<void>;
}

const CLOSE_LIMIT_MS = 3_000;
const LOG_FLUSH_LIMIT_MS = 500;

/**
 * Logs, metrics and traces of one process, as readers of its observations. Nothing is registered globally and
 * nothing is patched: whoever is to be seen is handed the observer.
 */
export function startTelemetry({ role, instance, env, logTo }: TelemetryOptions): Telemetry {
  const settings = readTelemetrySettings(role, env);
  const tracesUrl = settings.disabled ? null : settings.tracesUrl;
  const metricsUrl = settings.disabled ? null : settings.metricsUrl;

  const figures = new Figures();
  const dropped = figures.family('freshet.telemetry.dropped');
  const resource = resourceFromAttributes({
    'process.pid': process.pid,
    ...settings.resourceAttributes,
    'service.name': settings.serviceName,
    'service.instance.id': instance,
  });

  const onDelivery: OnDelivery = (signal, error) =>
    observer.emit(
      error
        ? {
            type: 'note',
            level: 'warn',
            text: `${signal} cannot be delivered over OTLP and are dropped`,
            error,
          }
        : { type: 'note', level: 'info', text: `${signal} are delivered over OTLP again` },
    );

  const pull = new PullReader(figures, resource, instance);
  const readers: MetricReader[] = [pull];
  if (metricsUrl) readers.push(deliverMetrics(metricsUrl, settings.metricIntervalMs, figures, onDelivery));
  const meters = new MeterProvider({ resource, readers });

  const refusedTraces = dropped.of('traces', 'rate_limited');
  const budget = new TraceBudget(() => refusedTraces.add());
  const tracers = new TracerProvider({
    resource,
    sampler: tracesUrl ? budgetSampler(budget, settings.traceRatio) : new AlwaysOffSampler(),
    spanProcessors: tracesUrl ? [deliverSpans(tracesUrl, settings.spanDelayMs, meters, onDelivery)] : [],
  });
  const tracing = createTracing(tracers.getTracer('freshet'), budget, tracesUrl !== null);

  const logs = createLogs({
    level: settings.logLevel,
    base: { role, process: instance },
    activeIds: tracing.activeIds,
    onDropped: () => dropped.of('logs', 'not_written').add(),
    ...(logTo ? { destination: logTo } : {}),
  });
  const count = countObservations(figures);
  const stopWatching = watchRuntime(figures);

  /** One reader's trouble is its own. */
  function attempt(reader: string, read: (observation: Observation) => void, observation: Observation): void {
    try {
      read(observation);
    } catch {
      dropped.of('observations', reader).add();
    }
  }

  const observer: Observer = {
    emit(observation) {
      attempt('metrics', count, observation);
      // Reads are only counted: this is the hot path.
      if (observation.type === 'read.served') return;
      if (observation.type === 'change.applied')
        attempt('traces', () => tracing.drawChange(observation), observation);
      attempt('logs', logs.log, observation);
    },
    trace: tracing.trace,
    traceparent: tracing.traceparent,
    gauges: askGauges(figures),
  };

  for (const text of settings.warnings) observer.emit({ type: 'note', level: 'warn', text });

  let closing: Promise<void> | undefined;
  return {
    observer,
    metricsText: () => pull.text(),
    close() {
      closing ??= closeAll();
      return closing;
    },
  };

  async function closeAll(): Promise<void> {
    stopWatching();
    // Spans first: the last collection then still counts how their delivery went.
    const delivered = tracers
      .shutdown()
      .catch(() => {})
      .then(() => meters.shutdown())
      .catch(() => {});
    await within(CLOSE_LIMIT_MS - LOG_FLUSH_LIMIT_MS, delivered);
    await logs.flush(LOG_FLUSH_LIMIT_MS);
  }
}

async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>(resolve => {
    timer = setTimeout(resolve, limitMs);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}
