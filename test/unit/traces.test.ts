import { describe, expect, test } from '@jest/globals';
import { SpanStatusCode } from '@opentelemetry/api';
import {
  AlwaysOffSampler,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { budgetSampler, TraceBudget } from '../../observability/trace-budget.ts';
import { createTracing } from '../../observability/traces.ts';
import { FreshetError } from '../../shared/errors.ts';
import { sampleOf } from '../support/observations.ts';

const REMOTE = { trace: 'a'.repeat(32), span: 'b'.repeat(16) };
const traceparent = (flags: '00' | '01') => `00-${REMOTE.trace}-${REMOTE.span}-${flags}`;

function started({ perSecond = 100, ratio = 1 } = {}) {
  let nowMs = 0;
  let refused = 0;
  const exporter = new InMemorySpanExporter();
  const budget = new TraceBudget(
    () => refused++,
    () => nowMs,
    perSecond,
  );
  const provider = new TracerProvider({
    sampler: budgetSampler(budget, ratio),
    spanProcessors: [new SimpleSpanProcessor({ exporter })],
  });
  return {
    tracing: createTracing(provider.getTracer('test'), budget, true),
    spans: () => exporter.getFinishedSpans(),
    refused: () => refused,
    passMs: (ms: number) => {
      nowMs += ms;
    },
  };
}

const epochMs = ([seconds, nanos]: readonly [number, number]) => seconds * 1e3 + nanos / 1e6;

/** Name, parent's name, start and end in milliseconds after `fromMs`: the root first, then as they started. */
function tree(spans: readonly ReadableSpan[], fromMs: number) {
  const nameOf = new Map(spans.map(span => [span.spanContext().spanId, span.name]));
  return spans
    .map(span => ({
      name: span.name,
      parent: span.parentSpanContext ? nameOf.get(span.parentSpanContext.spanId) : null,
      from: epochMs(span.startTime) - fromMs,
      to: epochMs(span.endTime) - fromMs,
    }))
    .sort((a, b) => Number(b.parent === null) - Number(a.parent === null) || a.from - b.from || a.to - b.to);
}

describe('the trace of an applied change', () => {
  const committedMs = 1_763_700_000_000;
  const times = {
    committedMs,
    receivedMs: committedMs + 1.5,
    appliedMs: committedMs + 3,
    settledMs: committedMs + 7,
  };

  test('runs from commit to settled, its stages one after the other', () => {
    const { tracing, spans } = started();
    tracing.drawChange(sampleOf('change.applied', { times }));
    expect(tree(spans(), committedMs)).toEqual([
      { name: 'change users', parent: null, from: 0, to: 7 },
      { name: 'capture', parent: 'change users', from: 0, to: 1.5 },
      { name: 'apply', parent: 'change users', from: 1.5, to: 3 },
      { name: 'settle', parent: 'change users', from: 3, to: 7 },
    ]);
    expect(new Set(spans().map(span => span.spanContext().traceId)).size).toBe(1);
    expect(spans().find(span => span.name === 'change users')!.attributes).toEqual({
      'freshet.feed': 'wal',
      'freshet.table': 'users',
      'freshet.op': 'update',
      'freshet.outcome': 'applied',
      'freshet.xid': '771',
      'freshet.key': '42',
    });
  });

  test('ends at its fence while it is not settled; a change without a key has none', () => {
    const { tracing, spans } = started();
    const { settledMs: _settled, ...unsettled } = times;
    tracing.drawChange(sampleOf('change.applied', { times: unsettled, op: 'truncate', key: null }));
    expect(tree(spans(), committedMs).map(({ name, to }) => [name, to])).toEqual([
      ['change users', 3],
      ['capture', 1.5],
      ['apply', 3],
    ]);
    expect(spans().every(span => !('freshet.key' in span.attributes))).toBe(true);
  });

  test('a gap that two clocks made negative is clamped, and marked where it was', () => {
    const { tracing, spans } = started();
    const skewed = {
      committedMs,
      receivedMs: committedMs - 20,
      appliedMs: committedMs - 15,
      settledMs: committedMs + 5,
    };
    tracing.drawChange(sampleOf('change.applied', { times: skewed }));
    expect(tree(spans(), committedMs).map(({ name, from, to }) => [name, from, to])).toEqual([
      ['change users', 0, 5],
      ['capture', 0, 0],
      ['apply', 0, 0],
      ['settle', 0, 5],
    ]);
    const clamped = spans().map(span => [span.name, span.attributes['freshet.clamped_ms']]);
    expect(Object.fromEntries(clamped)).toEqual({
      capture: 20,
      apply: 15,
      settle: undefined,
      'change users': undefined,
    });
  });

  test('an ignored change has none', () => {
    const { tracing, spans, refused } = started();
    tracing.drawChange(sampleOf('change.applied', { outcome: 'ignored' }));
    expect([spans().length, refused()]).toEqual([0, 0]);
  });
});

describe('the budget', () => {
  test('bounds new traces a second, counts what it refuses, and fills up again, but not beyond', () => {
    const { tracing, spans, refused, passMs } = started({ perSecond: 10 });
    const draw = (times: number) => {
      for (let i = 0; i < times; i++) tracing.drawChange(sampleOf('change.applied'));
      return spans().filter(span => span.name === 'change users').length;
    };
    expect([draw(25), refused()]).toEqual([10, 15]);
    passMs(500);
    expect([draw(25), refused()]).toEqual([15, 35]);
    passMs(60_000);
    expect(draw(25)).toBe(25);
  });

  test('work beyond it still runs, keeps its ids for the logs, and its children are not recorded either', async () => {
    const { tracing, spans, refused } = started({ perSecond: 1 });
    await tracing.trace('first', {}, async () => {});
    const seen = await tracing.trace('second', {}, () =>
      tracing.trace('inner', {}, async () => [tracing.traceparent(), tracing.activeIds()?.trace_id]),
    );
    expect(seen[0]).toMatch(new RegExp(`^00-${seen[1]}-[0-9a-f]{16}-00$`));
    expect(spans().map(span => span.name)).toEqual(['first']);
    expect(refused()).toBe(1);
  });

  test('a trace that somebody else began and sampled is taken beyond it; one they did not sample never', async () => {
    const { tracing, spans } = started({ perSecond: 1 });
    await tracing.trace('own', {}, async () => {});
    await tracing.trace('theirs', {}, async () => {}, traceparent('01'));
    await tracing.trace('unsampled', {}, async () => {}, traceparent('00'));
    expect(spans().map(span => span.name)).toEqual(['own', 'theirs']);
    expect(spans()[1]!.spanContext().traceId).toBe(REMOTE.trace);
    expect(spans()[1]!.parentSpanContext?.spanId).toBe(REMOTE.span);
  });

  test('a ratio of 0 takes nothing and costs no budget', () => {
    const { tracing, spans, refused } = started({ ratio: 0 });
    tracing.drawChange(sampleOf('change.applied'));
    expect([spans().length, refused()]).toEqual([0, 0]);
  });
});

describe('spans around work', () => {
  test('nest along the calls that await each other, not along those that only run at the same time', async () => {
    const { tracing, spans } = started();
    await Promise.all(
      ['a', 'b'].map(name =>
        tracing.trace(name, { name }, async () => {
          await new Promise(resolve => setImmediate(resolve));
          await tracing.trace(`${name} inner`, {}, async () => {});
        }),
      ),
    );
    expect(tracing.traceparent()).toBeUndefined();
    const parents = tree(spans(), 0).map(({ name, parent }) => [name, parent]);
    expect(Object.fromEntries(parents)).toEqual({ a: null, b: null, 'a inner': 'a', 'b inner': 'b' });
    expect(new Set(spans().map(span => span.spanContext().traceId)).size).toBe(2);
  });

  test('an error is recorded with its code and thrown on; so is what is thrown before the first await', async () => {
    const { tracing, spans } = started();
    const error = new FreshetError({ code: 'overloaded', message: 'too many loads' });
    await expect(
      tracing.trace('write users', {}, () => {
        throw error;
      }),
    ).rejects.toBe(error);
    expect(spans()[0]).toMatchObject({
      status: { code: SpanStatusCode.ERROR, message: 'too many loads' },
      events: [{ name: 'exception', attributes: { 'exception.type': 'overloaded' } }],
    });
    expect(tracing.activeIds()).toBeUndefined();
  });

  test('traceparent is the W3C header of the span under way; what is none begins a trace of its own', async () => {
    const { tracing, spans } = started();
    const headers = [
      'nonsense',
      `00-${'0'.repeat(32)}-${REMOTE.span}-01`,
      `ff-${REMOTE.trace}-${REMOTE.span}-01`,
    ];
    for (const header of headers) {
      const seen = await tracing.trace('write', {}, async () => tracing.traceparent(), header);
      const { traceId, spanId } = spans().at(-1)!.spanContext();
      expect(seen).toBe(`00-${traceId}-${spanId}-01`);
      expect(traceId).not.toBe(REMOTE.trace);
    }
  });

  test('without a receiver nothing is recorded, and there are still ids', async () => {
    const exporter = new InMemorySpanExporter();
    const provider = new TracerProvider({
      sampler: new AlwaysOffSampler(),
      spanProcessors: [new SimpleSpanProcessor({ exporter })],
    });
    const tracing = createTracing(provider.getTracer('test'), new TraceBudget(() => {}), false);
    tracing.drawChange(sampleOf('change.applied'));
    const ids = await tracing.trace('write', {}, async () => tracing.activeIds());
    expect(ids?.trace_id).toMatch(/^[0-9a-f]{32}$/);
    expect(exporter.getFinishedSpans()).toEqual([]);
  });
});
