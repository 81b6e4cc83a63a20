import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { silentObserver } from '../../shared/observe.ts';
import { openPopularity, type Popularity, type PopularityOptions } from '../../shared/queue/popularity.ts';
import { ReadCounts } from '../../shared/queue/read-counts.ts';
import { type Keys, keysOf } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';

const url = process.env.TEST_QUEUE_REDIS_URL!;
const redis = new Redis(url);
const opened: Popularity[] = [];
let keys: Keys;

beforeEach(() => {
  keys = keysOf(`freshet:${namespace()}`);
});

afterAll(async () => {
  await Promise.all(opened.map(popularity => popularity.close()));
  redis.disconnect();
});

/** Merges only when told to. */
async function open(options: Partial<PopularityOptions> = {}): Promise<Popularity> {
  const limits = { mergeEveryMs: 600_000, ...options.limits };
  const popularity = openPopularity({ url, keys, observer: silentObserver, ...options, limits });
  opened.push(popularity);
  await eventually('connected', () => popularity.top('users', 1).then(() => true), Boolean);
  return popularity;
}

const countTimes = (popularity: Popularity, tag: string, reads: number): void => {
  for (let i = 0; i < reads; i++) popularity.count('users', tag);
};

/** Reads that a score stands for, as of the server's time now. */
async function decayedReads(tag: string, halfLifeMs: number): Promise<number> {
  const score = Number(await redis.zscore(keys.popularity('users'), tag));
  const [seconds, micros] = (await redis.time()).map(Number) as [number, number];
  return 2 ** (score - (seconds * 1_000 + micros / 1_000) / halfLifeMs);
}

describe('popularity', () => {
  test('adds up the reads of several processes and orders rows by them', async () => {
    const [one, two] = [await open(), await open()];
    countTimes(one, 'users:1', 5);
    countTimes(two, 'users:1', 4);
    countTimes(one, 'users:2', 7);
    countTimes(two, 'users:3', 8);
    await Promise.all([one.sync(), two.sync()]);
    expect(await one.top('users', 3)).toEqual(['users:1', 'users:3', 'users:2']);
    expect(await decayedReads('users:1', 600_000)).toBeCloseTo(9, 1);
    expect(await decayedReads('users:2', 600_000)).toBeCloseTo(7, 1);
  });

  test('a read counts half as much after each half-life, whenever more are added', async () => {
    const halfLifeMs = 40;
    const popularity = await open({ limits: { halfLifeMs } });
    countTimes(popularity, 'users:1', 1_000);
    await popularity.sync();
    const early = Number(await redis.zscore(keys.popularity('users'), 'users:1'));
    await eventually(
      'decayed below two reads',
      () => decayedReads('users:1', halfLifeMs),
      reads => reads < 2,
    );
    countTimes(popularity, 'users:2', 2);
    countTimes(popularity, 'users:1', 1);
    await popularity.sync();
    const [first, second] = await Promise.all(
      ['users:1', 'users:2'].map(async tag => Number(await redis.zscore(keys.popularity('users'), tag))),
    );
    // log2(old + 1) against log2(2), both of the moment of the second merge.
    const then = second! - 1;
    expect(first! - then).toBeCloseTo(Math.log2(2 ** (early - then) + 1), 4);
  });

  test('what was read once a long time ago falls behind what is read now', async () => {
    const popularity = await open({ limits: { halfLifeMs: 20 } });
    countTimes(popularity, 'users:old', 500);
    await popularity.sync();
    await eventually(
      'overtaken',
      async () => {
        popularity.count('users', 'users:new');
        await popularity.sync();
        return popularity.top('users', 1);
      },
      ([tag]) => tag === 'users:new',
    );
  });

  test('keeps the most read rows within its bound', async () => {
    const popularity = await open({ limits: { rowsKept: 3, mergeBatch: 2 } });
    for (let id = 1; id <= 9; id++) countTimes(popularity, `users:${id}`, id);
    await popularity.sync();
    expect(await popularity.top('users', 100)).toEqual(['users:9', 'users:8', 'users:7']);
  });

  test('is remembered for weeks, not for ever', async () => {
    const popularity = await open();
    popularity.count('users', 'users:1');
    await popularity.sync();
    const days = (await redis.pttl(keys.popularity('users'))) / 86_400_000;
    expect(days).toBeGreaterThan(29);
    expect(days).toBeLessThanOrEqual(30);
  });

  test('knows which rows are hot without asking, among the top of their resource only', async () => {
    const watch = () => [{ name: 'users', warmUpTop: 2 }];
    const popularity = await open({ watch });
    for (let id = 1; id <= 4; id++) countTimes(popularity, `users:${id}`, id);
    expect(popularity.isHot('users', 'users:4')).toBe(false);
    await popularity.sync();
    expect([1, 2, 3, 4].map(id => popularity.isHot('users', `users:${id}`))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    expect(popularity.isHot('teams', 'users:4')).toBe(false);
    await popularity.forget('users', ['users:4']);
    await popularity.sync();
    expect([2, 3, 4].map(id => popularity.isHot('users', `users:${id}`))).toEqual([true, true, false]);
  });

  test('merges what is left when the process stops', async () => {
    const popularity = await open();
    countTimes(popularity, 'users:1', 3);
    await popularity.close();
    expect(await decayedReads('users:1', 600_000)).toBeCloseTo(3, 1);
  });
});

describe('read counts', () => {
  test('admit no more rows than their bound, and go on counting those they have', () => {
    const counts = new ReadCounts(2);
    for (const tag of ['a', 'b', 'c', 'a', 'c']) counts.add('users', tag);
    counts.add('teams', 'c');
    expect([...counts.take()]).toEqual([
      [
        'users',
        [
          ['a', 2],
          ['b', 1],
        ],
      ],
      ['teams', [['c', 1]]],
    ]);
    expect(counts.take().size).toBe(0);
  });

  test('make room where they are full by forgetting what was read least', () => {
    const counts = new ReadCounts(2);
    counts.add('users', 'a', 5);
    counts.add('teams', 'a', 1);
    counts.makeRoom();
    counts.add('users', 'b', 1);
    counts.makeRoom();
    counts.add('users', 'c', 1);
    expect([...counts.take()]).toEqual([
      [
        'users',
        [
          ['a', 2],
          ['c', 1],
        ],
      ],
      ['teams', [['a', 1]]],
    ]);
  });
});
