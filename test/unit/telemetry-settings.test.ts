import { describe, expect, test } from '@jest/globals';
import { readTelemetrySettings } from '../../observability/settings.ts';

const read = (env: Record<string, string>) => readTelemetrySettings('api', env);

describe('telemetry settings', () => {
  test('nothing is exported unless somebody says where to', () => {
    expect(read({})).toEqual({
      serviceName: 'freshet-api',
      resourceAttributes: {},
      tracesUrl: null,
      metricsUrl: null,
      disabled: false,
      traceRatio: 1,
      spanDelayMs: 1_000,
      metricIntervalMs: 60_000,
      logLevel: 'info',
      warnings: [],
    });
  });

  test("a shared endpoint gets the signals' paths, one for a signal is taken as it is", () => {
    const { tracesUrl, metricsUrl } = read({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/otlp/',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://traces.example/in',
    });
    expect([tracesUrl, metricsUrl]).toEqual([
      'https://traces.example/in',
      'http://collector:4318/otlp/v1/metrics',
    ]);
    const none = read({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      OTEL_METRICS_EXPORTER: 'none',
    });
    expect([none.tracesUrl, none.metricsUrl]).toEqual(['http://collector:4318/v1/traces', null]);
  });

  test('names and attributes of the resource', () => {
    const attributes = 'deployment.environment=staging, service.name=shop,note=a%20b%3Dc';
    expect(read({ OTEL_RESOURCE_ATTRIBUTES: attributes })).toMatchObject({
      serviceName: 'shop',
      resourceAttributes: { 'deployment.environment': 'staging', note: 'a b=c' },
      warnings: [],
    });
    expect(read({ OTEL_RESOURCE_ATTRIBUTES: attributes, OTEL_SERVICE_NAME: 'api' }).serviceName).toBe('api');
  });

  test.each([
    [{}, 1],
    [{ OTEL_TRACES_SAMPLER: 'always_off' }, 0],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' }, 0.25],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio' }, 1],
  ])('sampler %j takes %d of the traces', (env, ratio) => {
    expect(read(env)).toMatchObject({ traceRatio: ratio, warnings: [] });
  });

  test.each([
    ['LOG_LEVEL', 'loud', { logLevel: 'info' }],
    ['OTEL_BSP_SCHEDULE_DELAY', '-1', { spanDelayMs: 1_000 }],
    ['OTEL_METRIC_EXPORT_INTERVAL', 'often', { metricIntervalMs: 60_000 }],
    ['OTEL_TRACES_SAMPLER', 'jaeger_remote', { traceRatio: 1 }],
    ['OTEL_EXPORTER_OTLP_METRICS_ENDPOINT', 'collector:4318', { metricsUrl: null }],
    ['OTEL_RESOURCE_ATTRIBUTES', 'a', { resourceAttributes: {} }],
    ['OTEL_TRACES_EXPORTER', 'zipkin', {}],
  ])('%s=%s is told of and left aside', (name, value, used) => {
    const settings = read({ [name]: value });
    expect(settings).toMatchObject(used);
    expect(settings.warnings).toHaveLength(1);
  });

  test('gRPC is not spoken, and who asks for it is told', () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' };
    expect(read(env).warnings[0]).toContain('4318');
  });
});
