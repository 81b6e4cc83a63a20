/**
 * The standard OTEL_* variables that are honoured, and LOG_LEVEL. As OpenTelemetry asks, a value that cannot be
 * used is told of and left aside: telemetry never keeps a process from starting. Headers, compression and
 * certificates (OTEL_EXPORTER_OTLP_*) are read by the exporters themselves.
 */
export interface TelemetrySettings {
  readonly serviceName: string;
  readonly resourceAttributes: Readonly<Record<string, string>>;
  /** Full URLs; null: not exported. */
  readonly tracesUrl: string | null;
  readonly metricsUrl: string | null;
  /** Neither spans nor OTLP; `/metrics` stays. */
  readonly disabled: boolean;
  /** Share of new traces that is taken, 0 to 1, before the rate limit. */
  readonly traceRatio: number;
  readonly spanDelayMs: number;
  readonly metricIntervalMs: number;
  readonly logLevel: LogLevel;
  readonly warnings: readonly string[];
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const SPAN_DELAY_MS = 1_000;
const METRIC_INTERVAL_MS = 60_000;

export function readTelemetrySettings(role: string, env: NodeJS.ProcessEnv): TelemetrySettings {
  const warnings: string[] = [];
  const text = (name: string): string | undefined => env[name]?.trim() || undefined;

  function positive(name: string, fallback: number): number {
    const value = text(name);
    if (value === undefined) return fallback;
    if (Number(value) > 0 && Number.isFinite(Number(value))) return Number(value);
    warnings.push(`${name} must be a number of milliseconds above 0, got ${value}: ${fallback} is used`);
    return fallback;
  }

  function endpoint(signal: 'TRACES' | 'METRICS', path: string): string | null {
    const exporter = text(`OTEL_${signal}_EXPORTER`) ?? 'otlp';
    if (exporter === 'none') return null;
    if (exporter !== 'otlp') warnings.push(`OTEL_${signal}_EXPORTER must be otlp or none, got ${exporter}`);
    const own = text(`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`);
    const shared = text('OTEL_EXPORTER_OTLP_ENDPOINT');
    const url = own ?? (shared && `${shared.replace(/\/+$/, '')}/${path}`);
    if (!url) return null;
    const protocol = text(`OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`) ?? text('OTEL_EXPORTER_OTLP_PROTOCOL');
    if (protocol === 'grpc') {
      warnings.push(
        'OTLP is spoken over HTTP only, not gRPC: give the port of the HTTP receiver, usually 4318',
      );
    }
    if (/^https?:$/.test(URL.parse(url)?.protocol ?? '')) return url;
    warnings.push(
      `the OTLP endpoint must be an http or https URL, got ${url}: ${signal.toLowerCase()} stay here`,
    );
    return null;
  }

  function logLevel(): LogLevel {
    const value = text('LOG_LEVEL')?.toLowerCase();
    if (value === undefined) return 'info';
    const level = LOG_LEVELS.find(known => known === value);
    if (!level)
      warnings.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}, got ${value}: info is used`);
    return level ?? 'info';
  }

  function traceRatio(): number {
    const sampler = (text('OTEL_TRACES_SAMPLER') ?? 'always_on').replace(/^parentbased_/, '');
    if (sampler === 'always_off') return 0;
    if (sampler === 'always_on') return 1;
    const ratio = Number(text('OTEL_TRACES_SAMPLER_ARG') ?? '1');
    if (sampler === 'traceidratio' && ratio >= 0 && ratio <= 1) return ratio;
    warnings.push(
      'OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio with an argument from 0 to 1',
    );
    return 1;
  }

  const { 'service.name': namedInAttributes, ...resourceAttributes } = pairs(
    text('OTEL_RESOURCE_ATTRIBUTES') ?? '',
    warnings,
  );
  return {
    serviceName: text('OTEL_SERVICE_NAME') ?? namedInAttributes ?? `freshet-${role}`,
    resourceAttributes,
    tracesUrl: endpoint('TRACES', 'v1/traces'),
    metricsUrl: endpoint('METRICS', 'v1/metrics'),
    disabled: text('OTEL_SDK_DISABLED')?.toLowerCase() === 'true',
    traceRatio: traceRatio(),
    spanDelayMs: positive('OTEL_BSP_SCHEDULE_DELAY', SPAN_DELAY_MS),
    metricIntervalMs: positive('OTEL_METRIC_EXPORT_INTERVAL', METRIC_INTERVAL_MS),
    logLevel: logLevel(),
    warnings,
  };
}

/** `a=1,b=two%20words` */
function pairs(list: string, warnings: string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const pair of list.split(',').filter(part => part.trim() !== '')) {
    const [name, value, ...more] = pair.split('=').map(part => part.trim());
    try {
      if (!name || value === undefined || more.length > 0) throw new URIError(pair);
      found[decodeURIComponent(name)] = decodeURIComponent(value);
    } catch {
      warnings.push(
        `OTEL_RESOURCE_ATTRIBUTES must read name=value,name=value with %-escapes, got ${pair.trim()}`,
      );
    }
  }
  return found;
}
