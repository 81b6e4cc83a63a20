import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  service: string;
  instance: string;
  name: string;
  traceId: string;
  spanId: string;
  /** '' for a root. */
  parentSpanId: string;
  startNanos: bigint;
  endNanos: bigint;
  attributes: Record<string, unknown>;
  /** 2: error. */
  statusCode: number;
  events: string[];
}

export interface ReceivedMetric {
  service: string;
  name: string;
  unit: string;
  kind: string;
  points: { attributes: Record<string, unknown>; value: number }[];
}

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** Newest by name. */
  readonly metrics: Map<string, ReceivedMetric>;
  close(): Promise<void>;
}

interface JsonAttribute {
  key: string;
  value: { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean };
}
interface JsonSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: JsonAttribute[];
  status: { code: number };
  events: { name: string }[];
}
interface JsonPoint {
  attributes: JsonAttribute[];
  asInt?: number | string;
  asDouble?: number;
  count?: number | string;
}
interface JsonMetric {
  name: string;
  unit: string;
  [kind: string]: unknown;
}
interface JsonResource {
  resource: { attributes: JsonAttribute[] };
  scopeSpans?: { spans: JsonSpan[] }[];
  scopeMetrics?: { metrics: JsonMetric[] }[];
}

const plain = (attributes: JsonAttribute[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

/** A receiver of OTLP over HTTP with JSON bodies, as a Collector is one. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const metrics = new Map<string, ReceivedMetric>();

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.method !== 'POST' || request.headers['content-type'] !== 'application/json') {
      response.writeHead(415).end();
      return;
    }
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, JsonResource[]>;
    if (request.url === '/v1/traces') body.resourceSpans!.forEach(takeSpans);
    else if (request.url === '/v1/metrics') body.resourceMetrics!.forEach(takeMetrics);
    else {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');
  });

  function takeSpans({ resource, scopeSpans = [] }: JsonResource): void {
    const of = plain(resource.attributes);
    for (const span of scopeSpans.flatMap(scope => scope.spans)) {
      spans.push({
        service: String(of['service.name']),
        instance: String(of['service.instance.id']),
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        startNanos: BigInt(span.startTimeUnixNano),
        endNanos: BigInt(span.endTimeUnixNano),
        attributes: plain(span.attributes),
        statusCode: span.status.code,
        events: span.events.map(event => event.name),
      });
    }
  }

  function takeMetrics({ resource, scopeMetrics = [] }: JsonResource): void {
    const service = String(plain(resource.attributes)['service.name']);
    for (const metric of scopeMetrics.flatMap(scope => scope.metrics)) {
      const kind = ['sum', 'gauge', 'histogram'].find(each => each in metric) ?? 'unknown';
      const { dataPoints } = metric[kind] as { dataPoints: JsonPoint[] };
      const points = dataPoints.map(point => ({
        attributes: plain(point.attributes),
        value: Number(point.asInt ?? point.asDouble ?? point.count),
      }));
      metrics.set(metric.name, { service, name: metric.name, unit: metric.unit, kind, points });
    }
  }

  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    metrics,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
