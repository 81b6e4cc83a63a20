import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { METRIC_NAMES, prometheusName } from '../../observability/metrics.ts';
import { startTelemetry, type Telemetry } from '../../observability/telemetry.ts';
import { eventually } from '../support/eventually.ts';
import { fedFamilies, parseExposition } from '../support/exposition.ts';
import { allSamples, sampleOf } from '../support/observations.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';

let lines: string[];
let telemetry: Telemetry | undefined;

function start(env: Record<string, string>): Telemetry {
  lines = [];
  telemetry = startTelemetry({
    role: 'worker',
    instance: 'worker-1',
    env: { OTEL_BSP_SCHEDULE_DELAY: '20', OTEL_METRIC_EXPORT_INTERVAL: '50', ...env },
    logTo: { write: line => void lines.push(line) },
  });
  return telemetry;
}

const logged = () => lines.map(line => JSON.parse(line) as Record<string, unknown>);

afterEach(async () => {
  await telemetry?.close();
  telemetry = undefined;
});

describe('with a receiver', () => {
  let receiver: OtlpReceiver;
  beforeEach(async () => {
    receiver = await startOtlpReceiver();
  });
  afterEach(async () => {
    await telemetry?.close();
    await receiver.close();
  });
  const startDelivering = () => start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, LOG_LEVEL: 'debug' });

  test('a write arrives as one trace, and its log line carries the ids', async () => {
    const { observer } = startDelivering();
    const seen = await observer.trace('write users', { resource: 'users' }, () =>
      observer.trace('own fence', {}, async () => {
        observer.emit(sampleOf('write.committed'));
        return observer.traceparent();
      }),
    );
    const spans = await eventually(
      'both spans',
      () => receiver.spans,
      all => all.length === 2,
    );
    const root = spans.find(span => span.name === 'write users')!;
    const child = spans.find(span => span.name === 'own fence')!;
    expect(root).toMatchObject({
      service: 'freshet-worker',
      instance: 'worker-1',
      parentSpanId: '',
      attributes: { resource: 'users' },
    });
    expect([child.traceId, child.parentSpanId]).toEqual([root.traceId, root.spanId]);
    expect(seen).toBe(`00-${child.traceId}-${child.spanId}-01`);
    expect(logged()).toMatchObject([
      { event: 'write.committed', trace_id: child.traceId, span_id: child.spanId },
    ]);
  });

  test('an applied change arrives as one trace with its stages', async () => {
    const { observer } = startDelivering();
    const { times } = sampleOf('change.applied');
    observer.emit(sampleOf('change.applied'));
    const spans = await eventually(
      'the trace of the change',
      () => receiver.spans,
      all => all.length === 4,
    );
    const root = spans.find(span => span.parentSpanId === '')!;
    expect(root.name).toBe('change users');
    expect(root.attributes).toMatchObject({
      'freshet.table': 'users',
      'freshet.op': 'update',
      'freshet.xid': '771',
    });
    const nanos = (ms: number | undefined) => BigInt(ms!) * 1_000_000n;
    const stages = spans.filter(span => span.parentSpanId === root.spanId && span.traceId === root.traceId);
    expect(Object.fromEntries(stages.map(span => [span.name, [span.startNanos, span.endNanos]]))).toEqual({
      capture: [nanos(times.committedMs), nanos(times.receivedMs)],
      apply: [nanos(times.receivedMs), nanos(times.appliedMs)],
      settle: [nanos(times.appliedMs), nanos(times.settledMs)],
    });
    expect([root.startNanos, root.endNanos]).toEqual([nanos(times.committedMs), nanos(times.settledMs)]);
  });

  test('the metrics arrive, histograms counted beforehand included', async () => {
    const { observer } = startDelivering();
    observer.emit(sampleOf('read.served'));
    observer.emit(sampleOf('read.served'));
    await eventually(
      'two reads',
      () => receiver.metrics.get('freshet.cache.requests')?.points[0]?.value,
      value => value === 2,
    );
    expect(receiver.metrics.get('freshet.cache.requests')).toMatchObject({
      service: 'freshet-worker',
      kind: 'sum',
      unit: '{request}',
      points: [{ attributes: { resource: 'users', result: 'hit' }, value: 2 }],
    });
    await eventually(
      'their durations',
      () => receiver.metrics.get('freshet.cache.request.duration.seconds'),
      metric => metric?.kind === 'histogram' && metric.points[0]?.value === 2,
    );
  });

  test('what is left is handed over at the close', async () => {
    const { observer, close } = start({
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_BSP_SCHEDULE_DELAY: '3600000',
      OTEL_METRIC_EXPORT_INTERVAL: '3600000',
    });
    await observer.trace('write users', {}, async () => {});
    observer.emit(sampleOf('read.served'));
    expect(receiver.spans).toEqual([]);
    await close();
    expect(receiver.spans.map(span => span.name)).toEqual(['write users']);
    expect(receiver.metrics.get('freshet.cache.requests')?.points).toHaveLength(1);
  });

  test('contract: every metric of the schema is on /metrics once its observations came, and no other is', async () => {
    const { observer, metricsText } = startDelivering();
    observer.gauges({
      proofAgeSeconds: () => 0.2,
      mode: () => 'FRESH',
      queues: async () => [{ queue: 'rewarm', jobs: { waiting: 2 }, oldestAgeSeconds: 4 }],
    });
    for (const sample of allSamples) observer.emit(sample);
    // More traces than a second's budget: the last thing of the schema that has to happen.
    for (let i = 0; i < 150; i++) observer.emit(sampleOf('change.applied'));
    const expected = [...METRIC_NAMES.map(prometheusName), 'target_info'].sort();
    // Garbage is collected in its own time: make some.
    let garbage: unknown[] = [];
    const exposed = await eventually(
      'every metric fed',
      async () => {
        garbage = Array.from({ length: 100_000 }, (_, i) => ({ i, before: garbage.length }));
        return parseExposition(await metricsText());
      },
      families => fedFamilies(families).length >= expected.length,
    );
    expect(fedFamilies(exposed).sort()).toEqual(expected);
    const foreign = [...exposed.values()].flatMap(({ samples }) =>
      [...samples.keys()].filter(series => !series.includes('process="worker-1"')),
    );
    expect(foreign).toEqual([]);
  });
});

describe('without a receiver', () => {
  test('every name stands on /metrics from the start; spans give ids to the logs and go nowhere', async () => {
    const { observer, metricsText } = start({ LOG_LEVEL: 'debug' });
    const names = [...parseExposition(await metricsText()).keys()];
    const ours = METRIC_NAMES.filter(name => !name.startsWith('otel.')).map(prometheusName);
    expect(names.sort()).toEqual([...ours, 'target_info'].sort());
    await observer.trace('write users', {}, async () => observer.emit(sampleOf('write.committed')));
    expect(logged()).toMatchObject([
      { event: 'write.committed', trace_id: expect.stringMatching(/^[0-9a-f]{32}$/) },
    ]);
  });

  test('OTEL_SDK_DISABLED leaves /metrics and the logs', async () => {
    const receiver = await startOtlpReceiver();
    const { observer, metricsText, close } = start({
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_SDK_DISABLED: 'true',
    });
    await observer.trace('write users', {}, async () => {});
    observer.emit(sampleOf('redis.lost'));
    expect(fedFamilies(parseExposition(await metricsText()))).toContain('v8js_memory_heap_limit');
    expect(logged()).toMatchObject([{ event: 'redis.lost' }]);
    await close();
    expect([receiver.spans.length, receiver.metrics.size]).toEqual([0, 0]);
    await receiver.close();
  });

  test('settings that cannot be used are told of', () => {
    start({ LOG_LEVEL: 'loud', OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' });
    expect(logged().map(line => line.level)).toEqual(['warn', 'warn', 'warn']);
  });

  test('two of them live side by side in one process', async () => {
    const first = start({});
    const second = startTelemetry({ role: 'api', instance: 'api-1', env: {}, logTo: { write() {} } });
    first.observer.emit(sampleOf('read.served'));
    expect(await second.metricsText()).not.toContain('resource="users"');
    expect(await first.metricsText()).toContain('resource="users"');
    await second.close();
  });
});

describe('a receiver that is dead', () => {
  /** Nobody listens there: the port was free a moment ago. */
  async function deadUrl(): Promise<string> {
    const receiver = await startOtlpReceiver();
    await receiver.close();
    return receiver.url;
  }

  test('slows nothing, throws nothing, is told of once, and what is lost is counted', async () => {
    const { observer, metricsText } = start({ OTEL_EXPORTER_OTLP_ENDPOINT: await deadUrl() });
    const began = performance.now();
    for (let i = 0; i < 20_000; i++) {
      observer.emit(sampleOf('read.served'));
      observer.emit(sampleOf('change.applied'));
    }
    // 40,000 observations in the time of a handful of exports: nothing waited for one.
    expect(performance.now() - began).toBeLessThan(2_000);
    // Everything below a sampled span is taken: this fills the queue in front of the exporter.
    await observer.trace(
      'write users',
      {},
      async () => {
        for (let i = 0; i < 9_000; i++) await observer.trace('step', {}, async () => {});
      },
      `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    );
    const lost = await eventually(
      'losses of every kind',
      async () => {
        const families = parseExposition(await metricsText());
        const sum = (name: string, label: string) =>
          [...(families.get(name)?.samples ?? [])]
            .filter(([series]) => series.includes(label))
            .reduce((total, [, value]) => total + value, 0);
        return {
          rateLimited: sum('freshet_telemetry_dropped_total', 'reason="rate_limited"'),
          queueFull: sum('otel_sdk_processor_span_processed_total', 'error_type="queue_full"'),
          notDelivered: sum('otel_sdk_processor_span_processed_total', 'error_type="Error"'),
        };
      },
      ({ rateLimited, queueFull, notDelivered }) => rateLimited > 0 && queueFull > 0 && notDelivered > 0,
    );
    expect(lost.rateLimited).toBeGreaterThan(19_000);
    const told = await eventually(
      'both signals told of',
      () => logged().filter(line => /cannot be delivered/.test(String(line.msg))),
      all => all.length >= 2,
    );
    expect(told).toHaveLength(2);
  });

  test('does not hold the close', async () => {
    const { observer, close } = start({ OTEL_EXPORTER_OTLP_ENDPOINT: await deadUrl() });
    await observer.trace('write users', {}, async () => {});
    const began = performance.now();
    await close();
    expect(performance.now() - began).toBeLessThan(3_500);
  });

  test('emitting after the close does no harm', async () => {
    const { observer, close } = start({});
    await close();
    for (const sample of allSamples) observer.emit(sample);
    await expect(observer.trace('write users', {}, async () => 7)).resolves.toBe(7);
  });
});
