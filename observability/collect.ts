import { type Attributes, type HrTime, ValueType } from '@opentelemetry/api';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  type MetricData,
  type MetricProducer,
  MetricReader,
} from '@opentelemetry/sdk-metrics';
import { Counter, type Family, type Figures, Gauge, Histogram, type Series } from './figures.ts';
import { definitionOf } from './metrics.ts';

/**
 * The figures as the SDK wants them: a producer that its readers ask beside the SDK's own instruments. There is
 * no instrument that takes a histogram already counted; a producer is how such figures get in.
 */
export function produceFigures(figures: Figures, options: { emptyFamilies: boolean }): MetricProducer {
  const startTime = hrTime(figures.sinceMs);
  return {
    async collect(): Promise<CollectionResult> {
      await figures.refresh();
      const endTime = hrTime(Date.now());
      const metrics = figures.families
        .map(family => metricData(family, startTime, endTime))
        .filter(metric => options.emptyFamilies || metric.dataPoints.length > 0);
      // The reader puts its provider's resource in place of this one.
      const resource = resourceFromAttributes({});
      return {
        resourceMetrics: { resource, scopeMetrics: [{ scope: { name: 'freshet' }, metrics }] },
        errors: [],
      };
    },
  };
}

const hrTime = (epochMs: number): HrTime => [Math.trunc(epochMs / 1e3), Math.round((epochMs % 1e3) * 1e6)];

function metricData(family: Family<Series>, startTime: HrTime, endTime: HrTime): MetricData {
  const { kind, unit, help } = definitionOf(family.name);
  const valueType = kind === 'counter' ? ValueType.INT : ValueType.DOUBLE;
  const base = {
    descriptor: { name: family.name, description: help, unit, valueType },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  const point = <T>(attributes: Attributes, value: T) => ({ startTime, endTime, attributes, value });
  if (kind === 'counter') {
    const dataPoints = family.all.flatMap(({ labels, series }) =>
      series instanceof Counter ? [point(labels, series.value)] : [],
    );
    return { ...base, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints };
  }
  if (kind === 'gauge') {
    const dataPoints = family.all.flatMap(({ labels, series }) =>
      series instanceof Gauge && series.value !== null ? [point(labels, series.value)] : [],
    );
    return { ...base, dataPointType: DataPointType.GAUGE, dataPoints };
  }
  const dataPoints = family.all.flatMap(({ labels, series }) =>
    series instanceof Histogram
      ? [
          point(labels, {
            buckets: { boundaries: [...series.boundaries], counts: [...series.counts] },
            count: series.counts.reduce((sum, count) => sum + count, 0),
            sum: series.sum,
          }),
        ]
      : [],
  );
  return { ...base, dataPointType: DataPointType.HISTOGRAM, dataPoints };
}

/** Collects when it is asked: the reader behind `/metrics`. It listens nowhere. */
export class PullReader extends MetricReader {
  readonly #serializer = new PrometheusSerializer(undefined, false, /^process$/, false, true);
  readonly #resource: Resource;

  /** `process` names this process on every sample. */
  constructor(figures: Figures, resource: Resource, process: string) {
    super({ metricProducers: [produceFigures(figures, { emptyFamilies: true })] });
    this.#resource = resource.merge(resourceFromAttributes({ process }));
  }

  /** Prometheus text exposition, format 0.0.4. */
  async text(): Promise<string> {
    const { resourceMetrics } = await this.collect();
    const text = this.#serializer.serialize({ ...resourceMetrics, resource: this.#resource });
    return text.endsWith('\n') ? text : `${text}\n`;
  }

  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}
