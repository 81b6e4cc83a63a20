import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Context,
  type HrTime,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { Attributes, Observation, Observer } from '../shared/observe.ts';
import type { TraceBudget } from './trace-budget.ts';

type ChangeApplied = Extract<Observation, { type: 'change.applied' }>;

export interface Tracing extends Pick<Observer, 'trace' | 'traceparent'> {
  /** Draws the trace of an applied change afterwards, from its timestamps. */
  drawChange(change: ChangeApplied): void;
  /** Ids of the span under way, as logs carry them. */
  activeIds(): { trace_id: string; span_id: string } | undefined;
}

/**
 * Spans around work, and spans drawn afterwards. The span under way travels in an AsyncLocalStorage of its own:
 * nothing is registered globally, so that several of these live side by side in one process.
 * `recording`: whether anybody receives spans; without, there are ids for the logs and nothing else.
 */
export function createTracing(tracer: Tracer, budget: TraceBudget, recording: boolean): Tracing {
  const active = new AsyncLocalStorage<Context>();
  const activeContext = () => {
    const context = active.getStore();
    const span = context && trace.getSpan(context)?.spanContext();
    return span && isSpanContextValid(span) ? span : undefined;
  };

  return {
    async trace(name, attributes, work, parent) {
      const under = active.getStore() ?? remoteContext(parent) ?? ROOT_CONTEXT;
      const span = tracer.startSpan(name, { attributes: { ...attributes } }, under);
      try {
        return await active.run(trace.setSpan(under, span), work);
      } catch (error) {
        recordError(span, error);
        throw error;
      } finally {
        span.end();
      }
    },

    traceparent() {
      const span = activeContext();
      return span && `00-${span.traceId}-${span.spanId}-${span.traceFlags.toString(16).padStart(2, '0')}`;
    },

    activeIds() {
      const span = activeContext();
      return span && { trace_id: span.traceId, span_id: span.spanId };
    },

    drawChange(change) {
      if (!recording || change.outcome === 'ignored') return;
      // Asked before anything is built: a feed at full speed brings far more changes than traces are kept.
      if (!budget.hasRoom()) return budget.refuse();
      drawChange(tracer, change);
    },
  };
}

function recordError(span: Span, error: unknown): void {
  const exception = error instanceof Error ? error : String(error);
  span.recordException(exception);
  span.setStatus({
    code: SpanStatusCode.ERROR,
    message: error instanceof Error ? error.message : String(error),
  });
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** A context whose parent is somebody else's span; undefined when `traceparent` is none. */
function remoteContext(traceparent: string | undefined): Context | undefined {
  const match = TRACEPARENT.exec(traceparent ?? '');
  if (!match) return undefined;
  const [, traceId, spanId, flags] = match;
  const traceFlags = Number.parseInt(flags!, 16) & TraceFlags.SAMPLED;
  const context = { traceId: traceId!, spanId: spanId!, traceFlags, isRemote: true };
  return isSpanContextValid(context) ? trace.setSpanContext(ROOT_CONTEXT, context) : undefined;
}

/**
 * `change <table>` from commit to settled, and its stages as children. The points come from two clocks: where one
 * lies before its predecessor it is moved onto it, and the stage says by how much it was moved.
 * The row's key is an attribute: spans, like logs, are read one by one and may say which row it was.
 */
function drawChange(tracer: Tracer, change: ChangeApplied): void {
  const { committedMs, receivedMs, appliedMs, settledMs } = change.times;
  const points: [stage: string, atMs: number][] = [
    ['capture', receivedMs],
    ['apply', appliedMs],
  ];
  if (settledMs !== undefined) points.push(['settle', settledMs]);

  const root = tracer.startSpan(
    `change ${change.table}`,
    { startTime: hrTime(committedMs), attributes: changeAttributes(change) },
    ROOT_CONTEXT,
  );
  if (!root.isRecording()) return;
  const under = trace.setSpan(ROOT_CONTEXT, root);
  let fromMs = committedMs;
  for (const [stage, atMs] of points) {
    const toMs = Math.max(fromMs, atMs);
    const span = tracer.startSpan(stage, { startTime: hrTime(fromMs) }, under);
    if (toMs > atMs) span.setAttribute('freshet.clamped_ms', toMs - atMs);
    span.end(hrTime(toMs));
    fromMs = toMs;
  }
  root.end(hrTime(fromMs));
}

function changeAttributes(change: ChangeApplied): Attributes {
  return {
    'freshet.feed': change.feed,
    'freshet.table': change.table,
    'freshet.op': change.op,
    'freshet.outcome': change.outcome,
    'freshet.xid': change.xid,
    ...(change.key === null ? {} : { 'freshet.key': change.key }),
  };
}

/** Given as such, because the SDK reads a small number as an offset from the start of the process. */
const hrTime = (epochMs: number): HrTime => [Math.trunc(epochMs / 1e3), Math.round((epochMs % 1e3) * 1e6)];
