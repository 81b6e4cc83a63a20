/**
 * The one schema of metrics: everything that may appear on `/metrics` stands here, and nothing else may.
 * docs/metrics.md is made from it, the storage (figures.ts) is typed by it, and a contract test holds a live
 * `/metrics` against it.
 *
 * Names end in their unit where they have one. On `/metrics` dots become underscores, counters end in `_total`,
 * and every sample carries `process`, so that the expositions of several processes can be merged.
 */

export interface MetricDefinition {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** UCUM: `s`, `By`, `1`, or an annotation like `{request}`. */
  readonly unit: string;
  /** At most three, low-cardinality, in the order in which `Family.of` takes their values. */
  readonly labels: readonly string[];
  readonly help: string;
  /** Upper bounds of a histogram's buckets, inclusive, rising, in `unit`. */
  readonly buckets?: readonly number[];
  /** Recorded by the OpenTelemetry SDK about itself; there only while an OTLP endpoint is set. */
  readonly sdk?: true;
}

const REQUEST_SECONDS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const LAG_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const GC_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

export const METRICS = {
  'freshet.cache.requests': {
    kind: 'counter',
    unit: '{request}',
    labels: ['resource', 'result'],
    help: 'Reads answered, by how they were answered.',
  },
  'freshet.cache.request.duration.seconds': {
    kind: 'histogram',
    unit: 's',
    labels: ['resource', 'result'],
    help: 'Time to answer a read, measured in the process.',
    buckets: REQUEST_SECONDS,
  },
  'freshet.cache.conditional': {
    kind: 'counter',
    unit: '{request}',
    labels: ['outcome'],
    help: 'Reads by what became of their precondition; none: it had none.',
  },
  'freshet.cache.saved.bytes': {
    kind: 'counter',
    unit: 'By',
    labels: ['resource'],
    help: 'Body bytes that were not sent because the client already had them.',
  },
  'freshet.cache.saved.queries': {
    kind: 'counter',
    unit: '{query}',
    labels: ['resource'],
    help: 'Reads answered without a query of their own: hits, negative hits, and reads that shared a load.',
  },
  'freshet.cache.origin.loads': {
    kind: 'counter',
    unit: '{query}',
    labels: ['resource', 'outcome'],
    help: 'Rows loaded from Postgres to answer a read or to fill an entry.',
  },
  'freshet.cache.origin.duration.seconds': {
    kind: 'histogram',
    unit: 's',
    labels: ['resource', 'outcome'],
    help: 'Time a load from Postgres took.',
    buckets: REQUEST_SECONDS,
  },
  'freshet.cache.fill.refused': {
    kind: 'counter',
    unit: '{fill}',
    labels: ['reason'],
    help: 'Fills that were refused because what they had read might no longer be true.',
  },
  'freshet.cache.proof.age.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Age of the proof that cached answers are fresh; absent while there is none.',
  },
  'freshet.cache.mode': {
    kind: 'gauge',
    unit: '1',
    labels: ['mode'],
    help: 'How the process answers reads: 1 for the mode it is in, 0 for the others.',
  },
  'freshet.invalidation.lag.seconds': {
    kind: 'histogram',
    unit: 's',
    labels: ['table', 'feed'],
    help: 'From the commit of a change to its fence in the cache, one sample a change: the freshness SLI.',
    buckets: LAG_SECONDS,
  },
  'freshet.change.stage.duration.seconds': {
    kind: 'histogram',
    unit: 's',
    labels: ['stage'],
    help: 'Where the time of a change goes: capture (commit to received), apply, settle, queue, rewarm.',
    buckets: LAG_SECONDS,
  },
  'freshet.change.events': {
    kind: 'counter',
    unit: '{change}',
    labels: ['table', 'op', 'outcome'],
    help: 'Changes read from the log, by what they did to the cache.',
  },
  'freshet.feed.position.time.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: ['feed'],
    help: 'Unix time of the newest commit below which everything is settled; the lag is time() minus this.',
  },
  'freshet.slot.retained.bytes': {
    kind: 'gauge',
    unit: 'By',
    labels: ['slot'],
    help: 'Write-ahead log that Postgres keeps because the replication slot has not confirmed it.',
  },
  'freshet.connector.running': {
    kind: 'gauge',
    unit: '1',
    labels: ['connector'],
    help: '1 while the task of the Debezium connector runs, 0 while it does not; reported by the worker that leads.',
  },
  'freshet.beat.sent.time.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Unix time at which the last beat was written into the log.',
  },
  'freshet.beat.echoed.time.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Unix time at which the last beat came back through the log.',
  },
  'freshet.clock.skew.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: ['feed'],
    help: 'How far the last change was committed in the future of this clock; 0 when it was not.',
  },
  'freshet.epoch.bumps': {
    kind: 'counter',
    unit: '{epoch}',
    labels: ['cause'],
    help: 'New epochs: each made every cached entry unservable.',
  },
  'freshet.queue.wait.seconds': {
    kind: 'histogram',
    unit: 's',
    labels: ['queue'],
    help: 'Time a job waited before it was started.',
    buckets: LAG_SECONDS,
  },
  'freshet.queue.oldest.age.seconds': {
    kind: 'gauge',
    unit: 's',
    labels: ['queue'],
    help: 'Age of the oldest waiting job; absent while none waits.',
  },
  'freshet.queue.jobs': {
    kind: 'gauge',
    unit: '{job}',
    labels: ['queue', 'state'],
    help: 'Jobs in the queue by state; absent while the queue cannot be asked.',
  },
  'freshet.queue.attempts': {
    kind: 'counter',
    unit: '{attempt}',
    labels: ['queue', 'outcome'],
    help: 'Attempts at jobs, by how they ended.',
  },
  'freshet.queue.dead': {
    kind: 'counter',
    unit: '{job}',
    labels: ['queue'],
    help: 'Jobs given up after their last attempt.',
  },
  'freshet.queue.dropped': {
    kind: 'counter',
    unit: '{job}',
    labels: ['queue'],
    help: 'Jobs that never reached their queue because the buffer in front of it was full.',
  },
  'freshet.telemetry.dropped': {
    kind: 'counter',
    unit: '{item}',
    labels: ['signal', 'reason'],
    help: 'Telemetry given up on purpose: traces over the rate limit, log lines nobody reads, failed readers.',
  },
  'nodejs.eventloop.delay.p50': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Median delay of the event loop since the last reading.',
  },
  'nodejs.eventloop.delay.p99': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: '99th percentile of the delay of the event loop since the last reading.',
  },
  'nodejs.eventloop.delay.max': {
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Longest delay of the event loop since the last reading.',
  },
  'nodejs.eventloop.utilization': {
    kind: 'gauge',
    unit: '1',
    labels: [],
    help: 'Share of time the event loop was busy since the last reading.',
  },
  'v8js.memory.heap.used': {
    kind: 'gauge',
    unit: 'By',
    labels: ['v8js.heap.space.name'],
    help: 'Heap in use, by space.',
  },
  'v8js.memory.heap.limit': {
    kind: 'gauge',
    unit: 'By',
    labels: [],
    help: 'Size at which the heap is full and the process ends.',
  },
  'v8js.gc.duration': {
    kind: 'histogram',
    unit: 's',
    labels: ['v8js.gc.type'],
    help: 'Time spent collecting garbage.',
    buckets: GC_SECONDS,
  },
  'otel.sdk.processor.span.processed': {
    kind: 'counter',
    unit: '{span}',
    labels: ['otel.component.type', 'otel.component.name', 'error.type'],
    help: 'Spans handed on; with error.type (queue_full, or the error of the export) they were lost.',
    sdk: true,
  },
  'otel.sdk.processor.span.queue.capacity': {
    kind: 'gauge',
    unit: '{span}',
    labels: ['otel.component.type', 'otel.component.name'],
    help: 'Spans that fit into the queue in front of the exporter.',
    sdk: true,
  },
  'otel.sdk.processor.span.queue.size': {
    kind: 'gauge',
    unit: '{span}',
    labels: ['otel.component.type', 'otel.component.name'],
    help: 'Spans waiting in front of the exporter.',
    sdk: true,
  },
} as const satisfies Record<string, MetricDefinition>;

type Schema = typeof METRICS;
export type MetricName = keyof Schema;
/** The metrics that this code records itself. */
export type OwnMetricName = { [N in MetricName]: Schema[N] extends { sdk: true } ? never : N }[MetricName];

export const METRIC_NAMES = Object.keys(METRICS) as MetricName[];

export const definitionOf = (name: MetricName): MetricDefinition => METRICS[name];

/** The family's name on `/metrics`, as the JavaScript Prometheus exporter makes it. */
export const prometheusName = (name: MetricName): string =>
  name.replaceAll('.', '_') + (METRICS[name].kind === 'counter' ? '_total' : '');
