import { definitionOf, METRIC_NAMES, type MetricName, prometheusName } from './metrics.ts';

/** docs/metrics.md, made from the schema. */
export function renderMetricsPage(): string {
  return `# Metrics

Made from \`observability/metrics.ts\`; the test that compares them rewrites this page when run with \`UPDATE_DOCS=1\`.

Every process serves \`/metrics\` in the Prometheus text format on its admin listener. The same figures go out over
OTLP/HTTP when \`OTEL_EXPORTER_OTLP_ENDPOINT\` (or \`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT\`) is set, there under the
dotted names. On \`/metrics\` every sample also carries \`process\`, the name of the process it comes from.
A family without a sample has nothing to tell yet. Times are exported as they are, so that a stopped pipeline is
seen: \`time() - freshet_feed_position_time_seconds\` grows while the position stands.

## Freshet
${table(METRIC_NAMES.filter(name => name.startsWith('freshet.')))}
## Node.js and V8
${table(METRIC_NAMES.filter(name => /^(nodejs|v8js)\./.test(name)))}
## The telemetry itself
Recorded by the OpenTelemetry SDK, only while spans are exported over OTLP.

${table(METRIC_NAMES.filter(name => name.startsWith('otel.')))}
## Buckets
${METRIC_NAMES.filter(name => definitionOf(name).buckets)
  .map(bucketLine)
  .join('')}`;
}

function table(names: readonly MetricName[]): string {
  const rows = names.map(name => {
    const { kind, unit, labels, help } = definitionOf(name);
    const labelled = labels.map(label => `\`${label.replaceAll('.', '_')}\``).join(', ');
    return `| \`${prometheusName(name)}\` | \`${name}\` | ${kind} | \`${unit}\` | ${labelled} | ${help} |\n`;
  });
  return `| on /metrics | over OTLP | type | unit | labels | what it says |\n|---|---|---|---|---|---|\n${rows.join('')}`;
}

const bucketLine = (name: MetricName): string =>
  `- \`${prometheusName(name)}\`: ${definitionOf(name).buckets?.join(', ')}\n`;
