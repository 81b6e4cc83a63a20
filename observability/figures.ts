import { definitionOf, METRIC_NAMES, METRICS, type MetricName, type OwnMetricName } from './metrics.ts';

/**
 * Where observations are counted: plain numbers, handed over when somebody collects. An SDK instrument costs
 * about 500 ns a call because it hashes the labels each time; a series that is found by two map look-ups and
 * incremented costs a twentieth of that, which is what the read path and a feed at full speed can afford.
 */

export class Counter {
  value = 0;

  /** A counter never goes back; what is no positive number is not added. */
  add(amount = 1): void {
    if (amount > 0) this.value += amount;
  }
}

export class Gauge {
  /** null: not known, not exported. */
  value: number | null = null;

  set(value: number | null): void {
    this.value = value;
  }
}

export class Histogram {
  readonly boundaries: readonly number[];
  /** One more than boundaries: the last counts what lies above all of them. Not cumulative. */
  readonly counts: number[];
  sum = 0;

  constructor(boundaries: readonly number[]) {
    this.boundaries = boundaries;
    this.counts = new Array<number>(boundaries.length + 1).fill(0);
  }

  record(value: number): void {
    // One NaN would make the sum NaN for good.
    if (Number.isNaN(value)) return;
    const { boundaries, counts } = this;
    let bucket = 0;
    while (bucket < boundaries.length && value > boundaries[bucket]!) bucket++;
    counts[bucket]!++;
    this.sum += value;
  }
}

export type Series = Counter | Gauge | Histogram;
type SeriesOf<N extends MetricName> = {
  counter: Counter;
  gauge: Gauge;
  histogram: Histogram;
}[(typeof METRICS)[N]['kind']];

/** Label sets a metric may have; what comes later is counted together in one overflow series, as the SDK does. */
const SERIES_LIMIT = 2_000;
const OVERFLOW = { 'otel.metric.overflow': true } as const;

/** All series of one metric, found by the values of its labels. */
export class Family<S extends Series> {
  readonly name: MetricName;
  readonly #create: () => S;
  readonly #tree = new Map<string, Map<string, Map<string, S>>>();
  readonly #all: { labels: Readonly<Record<string, string | boolean>>; series: S }[] = [];
  #overflow: S | undefined;

  constructor(name: MetricName, create: () => S) {
    this.name = name;
    this.#create = create;
  }

  /** The series whose labels have these values, in the order of the schema. */
  of(first = '', second = '', third = ''): S {
    return this.#tree.get(first)?.get(second)?.get(third) ?? this.#add(first, second, third);
  }

  get all(): readonly { labels: Readonly<Record<string, string | boolean>>; series: S }[] {
    return this.#all;
  }

  #add(first: string, second: string, third: string): S {
    if (this.#all.length >= SERIES_LIMIT) {
      if (!this.#overflow) {
        this.#overflow = this.#create();
        this.#all.push({ labels: OVERFLOW, series: this.#overflow });
      }
      return this.#overflow;
    }
    const values = [first, second, third];
    const labels = Object.fromEntries(definitionOf(this.name).labels.map((label, i) => [label, values[i]!]));
    const series = this.#create();
    this.#all.push({ labels, series });
    const byFirst = getOrAdd(this.#tree, first);
    getOrAdd(byFirst, second).set(third, series);
    return series;
  }
}

function getOrAdd<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let found = map.get(key);
  if (!found) {
    found = new Map();
    map.set(key, found);
  }
  return found;
}

function createFamily(name: MetricName): Family<Series> {
  const { kind, buckets } = definitionOf(name);
  if (kind === 'counter') return new Family<Series>(name, () => new Counter());
  if (kind === 'gauge') return new Family<Series>(name, () => new Gauge());
  return new Family<Series>(name, () => new Histogram(buckets ?? []));
}

/** Sets gauges just before they are read. May wait, but is waited for no longer than ASK_LIMIT_MS. */
export type Ask = () => void | Promise<void>;

const ASK_LIMIT_MS = 1_000;

export class Figures {
  /** Unix time in milliseconds since which everything is counted. */
  readonly sinceMs = Date.now();
  readonly families: readonly Family<Series>[];
  readonly #byName: ReadonlyMap<MetricName, Family<Series>>;
  readonly #asks: (() => Promise<void>)[] = [];

  constructor() {
    this.families = METRIC_NAMES.filter(name => !('sdk' in METRICS[name])).map(createFamily);
    this.#byName = new Map(this.families.map(family => [family.name, family]));
  }

  family<N extends OwnMetricName>(name: N): Family<SeriesOf<N>> {
    // The schema decides the kind of series, in createFamily as in SeriesOf.
    return this.#byName.get(name) as unknown as Family<SeriesOf<N>>;
  }

  /** An ask that fails leaves its gauges as it left them; while one is under way it is not started again. */
  beforeCollect(ask: Ask): void {
    let pending: Promise<void> | undefined;
    this.#asks.push(() => {
      pending ??= Promise.resolve()
        .then(ask)
        .catch(() => {})
        .finally(() => {
          pending = undefined;
        });
      return pending;
    });
  }

  /** Brings the asked gauges up to date. Never throws. */
  async refresh(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>(resolve => {
      timer = setTimeout(resolve, ASK_LIMIT_MS);
    });
    await Promise.race([Promise.all(this.#asks.map(ask => ask())), limit]);
    clearTimeout(timer);
  }
}
