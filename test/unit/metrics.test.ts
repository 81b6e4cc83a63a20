import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { askGauges, countObservations } from '../../observability/count.ts';
import { Figures, type Gauge, type Histogram } from '../../observability/figures.ts';
import { definitionOf, METRIC_NAMES, prometheusName } from '../../observability/metrics.ts';
import { renderMetricsPage } from '../../observability/metrics-page.ts';
import { sampleOf } from '../support/observations.ts';

const PAGE = new URL('../../docs/metrics.md', import.meta.url);

const countOf = (histogram: Histogram): number => histogram.counts.reduce((sum, count) => sum + count, 0);

/** label values joined → value, as a table a test can state. */
const valuesOf = (figures: Figures, name: Parameters<Figures['family']>[0]) =>
  Object.fromEntries(
    figures
      .family(name)
      .all.map(({ labels, series }) => [
        Object.values(labels).join(' '),
        'counts' in series ? countOf(series) : series.value,
      ]),
  );

describe('the schema', () => {
  test('names are valid, unique on /metrics, and ours end in their unit', () => {
    const exposed = METRIC_NAMES.map(prometheusName);
    expect(new Set(exposed).size).toBe(exposed.length);
    for (const name of exposed) expect(name).toMatch(/^[a-z][a-z0-9_]*[a-z0-9]$/);
    const ours = METRIC_NAMES.filter(name => name.startsWith('freshet.'));
    expect(ours.filter(name => definitionOf(name).unit === 's' && !name.endsWith('.seconds'))).toEqual([]);
    expect(ours.filter(name => definitionOf(name).unit === 'By' && !name.endsWith('.bytes'))).toEqual([]);
  });

  test('buckets belong to histograms and rise; labels are few and leave `process` and `le` free', () => {
    for (const name of METRIC_NAMES) {
      const { kind, labels, buckets } = definitionOf(name);
      expect([name, buckets !== undefined]).toEqual([name, kind === 'histogram']);
      expect(buckets ?? []).toEqual([...(buckets ?? [])].sort((a, b) => a - b));
      expect(labels.length).toBeLessThanOrEqual(3);
      expect(labels).not.toContain('process');
      expect(labels).not.toContain('le');
    }
  });

  test('docs/metrics.md says what the schema says', () => {
    const page = renderMetricsPage();
    if (process.env.UPDATE_DOCS === '1') writeFileSync(PAGE, page);
    expect(readFileSync(PAGE, 'utf8')).toBe(page);
  });
});

describe('figures', () => {
  test('a bucket includes its upper bound; what lies above all is counted last; no NaN gets in', () => {
    const lag = new Figures().family('freshet.invalidation.lag.seconds').of('users', 'wal');
    for (const value of [0.001, 0.0011, 1e6, Number.NaN]) lag.record(value);
    expect(lag.counts.slice(0, 2)).toEqual([1, 1]);
    expect(lag.counts.at(-1)).toBe(1);
    expect(lag.sum).toBeCloseTo(1e6 + 0.0021);
  });

  test('label sets beyond the limit are counted together', () => {
    const events = new Figures().family('freshet.change.events');
    for (let i = 0; i < 2_100; i++) events.of(`t${i}`, 'update', 'applied').add();
    expect(events.all.length).toBe(2_001);
    expect(events.all.at(-1)).toMatchObject({
      labels: { 'otel.metric.overflow': true },
      series: { value: 100 },
    });
    events.of('t0', 'update', 'applied').add();
    expect(events.of('t0', 'update', 'applied').value).toBe(2);
  });

  test('a gauge that hangs is absent, is not asked twice, and keeps no other gauge from being read', async () => {
    const figures = new Figures();
    const gauges = askGauges(figures);
    let asked = 0;
    let answer: ((age: number) => void) | undefined;
    let proofAge = 0.1;
    gauges({
      proofAgeSeconds: () => proofAge,
      queues: () => {
        asked++;
        if (asked === 1)
          return Promise.resolve([{ queue: 'rewarm', jobs: { waiting: 4 }, oldestAgeSeconds: 2 }]);
        return new Promise(resolve => {
          answer = age => resolve([{ queue: 'rewarm', jobs: { waiting: 5 }, oldestAgeSeconds: age }]);
        });
      },
    });
    await figures.refresh();
    expect(valuesOf(figures, 'freshet.queue.jobs')).toEqual({ 'rewarm waiting': 4 });
    proofAge = 0.2;
    await figures.refresh();
    await figures.refresh();
    expect(asked).toBe(2);
    expect(valuesOf(figures, 'freshet.queue.jobs')).toEqual({ 'rewarm waiting': null });
    expect(valuesOf(figures, 'freshet.queue.oldest.age.seconds')).toEqual({ rewarm: null });
    expect(valuesOf(figures, 'freshet.cache.proof.age.seconds')).toEqual({ '': 0.2 });
    const refreshed = figures.refresh();
    answer!(9);
    await refreshed;
    expect(valuesOf(figures, 'freshet.queue.jobs')).toEqual({ 'rewarm waiting': 5 });
    expect(valuesOf(figures, 'freshet.queue.oldest.age.seconds')).toEqual({ rewarm: 9 });
  });

  test('a gauge that throws is absent; several callers each add theirs', async () => {
    const figures = new Figures();
    const gauges = askGauges(figures);
    gauges({ mode: () => 'GUARDED' });
    gauges({ proofAgeSeconds: () => null, queues: () => Promise.reject(new Error('queue Redis is down')) });
    await figures.refresh();
    expect(valuesOf(figures, 'freshet.cache.mode')).toEqual({ FRESH: 0, GUARDED: 1, BYPASS: 0 });
    expect(valuesOf(figures, 'freshet.cache.proof.age.seconds')).toEqual({ '': null });
    expect(valuesOf(figures, 'freshet.queue.jobs')).toEqual({});
  });
});

describe('what observations count', () => {
  const started = () => {
    const figures = new Figures();
    return { figures, observe: countObservations(figures, () => 5_000) };
  };

  test('reads: by result, saved bytes, and a query saved only where none was made', () => {
    const { figures, observe } = started();
    observe(sampleOf('read.served', { result: 'hit', savedBytes: 120 }));
    observe(sampleOf('read.served', { result: 'hit', outcome: 'modified', savedBytes: 0, durationMs: 600 }));
    observe(sampleOf('read.served', { result: 'miss', outcome: 'none', savedBytes: 0 }));
    observe(sampleOf('read.served', { result: 'negative', outcome: 'none', savedBytes: 0 }));
    observe(
      sampleOf('read.served', { resource: 'teams', result: 'collapsed', outcome: 'none', savedBytes: 0 }),
    );
    expect(valuesOf(figures, 'freshet.cache.requests')).toEqual({
      'users hit': 2,
      'users miss': 1,
      'users negative': 1,
      'teams collapsed': 1,
    });
    expect(valuesOf(figures, 'freshet.cache.conditional')).toEqual({ not_modified: 1, modified: 1, none: 3 });
    expect(valuesOf(figures, 'freshet.cache.saved.bytes')).toEqual({ users: 120, teams: 0 });
    expect(valuesOf(figures, 'freshet.cache.saved.queries')).toEqual({ users: 3, teams: 1 });
    const hits = figures.family('freshet.cache.request.duration.seconds').of('users', 'hit');
    expect(hits.sum).toBeCloseTo(0.6004);
    expect(hits.counts[1]).toBe(1);
  });

  test('a change: lag once, each stage once, nothing but the event when it is ignored', () => {
    const { figures, observe } = started();
    observe(sampleOf('change.applied'));
    observe(sampleOf('change.applied', { outcome: 'ignored' }));
    expect(valuesOf(figures, 'freshet.change.events')).toEqual({
      'users update applied': 1,
      'users update ignored': 1,
    });
    const lag = figures.family('freshet.invalidation.lag.seconds').of('users', 'wal');
    expect([countOf(lag), lag.sum]).toEqual([1, 0.003]);
    const stage = figures.family('freshet.change.stage.duration.seconds');
    expect(['capture', 'apply', 'settle'].map(each => stage.of(each).sum)).toEqual([0.001, 0.002, 0.004]);
  });

  test('a commit in the future of our clock counts as no lag, and the skew is told', () => {
    const { figures, observe } = started();
    const skew = figures.family('freshet.clock.skew.seconds').of('wal') as Gauge;
    observe(
      sampleOf('change.applied', { times: { committedMs: 2_000, receivedMs: 1_500, appliedMs: 1_600 } }),
    );
    expect(skew.value).toBe(0.5);
    expect(figures.family('freshet.invalidation.lag.seconds').of('users', 'wal').sum).toBe(0);
    observe(sampleOf('change.applied'));
    expect(skew.value).toBe(0);
  });

  test('jobs: waits, attempts, deaths, drops; only rewarming is a stage of a change', () => {
    const { figures, observe } = started();
    observe(sampleOf('job.done'));
    observe(sampleOf('job.done', { queue: 'cleanup', outcome: 'freed' }));
    observe(sampleOf('job.failed', { dead: false }));
    observe(sampleOf('job.failed', { dead: true }));
    observe(sampleOf('job.dropped', { count: 3 }));
    expect(valuesOf(figures, 'freshet.queue.wait.seconds')).toEqual({ rewarm: 1, cleanup: 1 });
    expect(valuesOf(figures, 'freshet.queue.attempts')).toEqual({
      'rewarm stored': 1,
      'cleanup freed': 1,
      'rewarm failed': 2,
    });
    expect(valuesOf(figures, 'freshet.queue.dead')).toEqual({ rewarm: 1 });
    expect(valuesOf(figures, 'freshet.queue.dropped')).toEqual({ rewarm: 3 });
    expect(valuesOf(figures, 'freshet.change.stage.duration.seconds')).toMatchObject({ queue: 1, rewarm: 1 });
  });

  test('times that a stopped pipeline would freeze are exported as times', () => {
    const { figures, observe } = started();
    observe(sampleOf('feed.position', { newestCommitMs: 4_500 }));
    observe(sampleOf('beat.sent'));
    observe(sampleOf('beat.echoed'));
    observe(sampleOf('gap.closed', { cause: 'redis-replaced' }));
    expect(valuesOf(figures, 'freshet.feed.position.time.seconds')).toEqual({ wal: 4.5 });
    expect(valuesOf(figures, 'freshet.beat.sent.time.seconds')).toEqual({ '': 5 });
    expect(valuesOf(figures, 'freshet.beat.echoed.time.seconds')).toEqual({ '': 5 });
    expect(valuesOf(figures, 'freshet.epoch.bumps')).toEqual({ 'redis-replaced': 1 });
  });
});
