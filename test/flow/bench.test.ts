import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import type { FeedsResult } from '../../bench/feeds.ts';
import { median, percentile, randomNumbers, zipfPlaces } from '../../bench/figures.ts';
import type { ReadsResult } from '../../bench/reads.ts';
import { kafkaStartLimitMs } from '../support/kafka-servers.ts';

const run = promisify(execFile);
const entry = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const tinyRun = ['--rounds', '1', '--seconds', '0.3', '--rows', '1000'];

describe('the benchmark', () => {
  test('measures reads and changes, and every contender does the same work', async () => {
    // On a busy machine a proof may come late, and a read that is not FRESH would (rightly) end the measurement.
    const env = { ...process.env, NODE_OPTIONS: '', FRESHET_MAX_STALENESS_MS: '20000' };
    const { stdout } = await run(process.execPath, [entry, ...tinyRun, '--json'], { env });
    const { conditions, reads, changes } = JSON.parse(stdout);

    expect(conditions).toMatchObject({ rounds: 1, seconds: 0.3, rows: 1000 });
    const names = ['Express + pg', 'Express + ioredis', 'the same, auto-pipelining', 'Freshet'];
    expect((reads as ReadsResult[]).map(({ contender, status }) => `${contender} ${status}`)).toEqual([
      ...names.map(name => `${name} 200`),
      ...names.map(name => `${name} 304`),
    ]);
    for (const { perSecond, p50Ms, p99Ms, ratio } of reads as ReadsResult[]) {
      expect(perSecond).toBeGreaterThan(0);
      expect(ratio).toBeGreaterThan(0);
      expect(p99Ms).toBeGreaterThanOrEqual(p50Ms);
    }
    for (const pace of ['50', '1000']) {
      const { p50Ms, p90Ms, p99Ms } = changes.latency[pace];
      expect([p50Ms, p90Ms, p99Ms]).toEqual([p50Ms, p90Ms, p99Ms].toSorted((a, b) => a - b));
    }
    expect(changes.throughput.absent.rows).toBe(1000);
    expect(changes.throughput.present.perSecond).toBeGreaterThan(0);
  }, 120_000);

  test(
    'measures the feeds beside each other',
    async () => {
      const env = { ...process.env, NODE_OPTIONS: '' };
      const { stdout } = await run(process.execPath, [entry, 'feeds', ...tinyRun, '--json'], { env });
      const { conditions, reads, feeds } = JSON.parse(stdout) as {
        conditions: { versions: string };
        reads: null;
        feeds: FeedsResult;
      };

      expect(conditions.versions).toMatch(/^Node .*, Postgres .*, Kafka .*, Debezium /);
      expect(reads).toBeNull();
      const paced = ['wal 50', 'wal 1000', 'kafka 50', 'kafka 1000', 'defaults 50'];
      expect(Object.keys(feeds.lags).toSorted()).toEqual(paced.toSorted());
      for (const { p50Ms, p90Ms, p99Ms } of [...Object.values(feeds.lags), ...Object.values(feeds.bare)]) {
        expect([p50Ms, p90Ms, p99Ms]).toEqual([p50Ms, p90Ms, p99Ms].toSorted((a, b) => a - b));
      }
      expect(Object.keys(feeds.bare)).toEqual(['50', '1000']);
      const written = ['wal all', 'wal 1000', 'kafka all', 'kafka 1000'];
      expect(Object.keys(feeds.bulks).toSorted()).toEqual(written.toSorted());
      for (const { rows, perSecond } of Object.values(feeds.bulks)) {
        expect(rows).toBe(1000);
        expect(perSecond).toBeGreaterThan(0);
      }
      expect(feeds.delivered.perSecond).toBeGreaterThan(0);
      expect(Object.keys(feeds.caughtUp).toSorted()).toEqual(['consumer', 'kafka', 'wal']);
      expect(feeds.caughtUp.kafka!.perSecond).toBeGreaterThan(0);
    },
    kafkaStartLimitMs,
  );

  test('refuses words it does not know, before anything is started', async () => {
    const failure = await run(process.execPath, [entry, 'writes']).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('reads, changes or feeds, got writes'),
    });
  });
});

describe('figures', () => {
  test('percentiles are samples, by nearest rank', () => {
    const samples = [40, 10, 30, 20];
    expect([0.25, 0.5, 0.75, 0.99, 1].map(share => percentile(samples, share))).toEqual([10, 20, 30, 40, 40]);
    expect(percentile([], 0.5)).toBeNaN();
  });

  test('a median lies in the middle of an even number of samples', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  test('places follow the law of Zipf, the same for the same seed', () => {
    const places = zipfPlaces(100, 100_000, randomNumbers(7));
    expect(zipfPlaces(100, 100_000, randomNumbers(7))).toEqual(places);
    const drawn = (place: number): number => places.filter(one => one === place).length;
    expect(drawn(0) / drawn(9)).toBeCloseTo(10, -0.5);
    expect(Math.max(...places)).toBeLessThan(100);
    expect(Math.min(...places)).toBe(0);
  });
});
