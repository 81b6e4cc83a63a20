import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type Keys, keysOf } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { answersOf, loadScripts, type Scripts } from '../support/scripts.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

/** The decisions about `control`, about beats and nonces, and what is still decided when memory is full. */

const url = process.env.TEST_CACHE_REDIS_URL!;
let scripts: Scripts;
let keys: Keys;

beforeAll(async () => {
  scripts = await loadScripts(url);
});

beforeEach(() => {
  keys = keysOf(namespace());
});

afterAll(() => scripts.close());

type Fields = Readonly<Record<string, string>>;
type Row = {
  readonly given: Fields;
  readonly call: readonly string[];
  readonly answers: string;
  readonly leaves: Fields;
};

function decides(
  name: 'adopt' | 'epoch' | 'generation',
  table: readonly (readonly [name: string, row: Row])[],
): void {
  test.each(table)('%s', async (_name, { given, call, answers, leaves }) => {
    if (Object.keys(given).length > 0) await scripts.redis.hset(keys.control, given);
    expect(await scripts.run(name, keys.control, ...call)).toBe(answers);
    expect(await scripts.redis.hgetall(keys.control)).toEqual(leaves);
    if (Object.keys(leaves).length > 0) expect(await scripts.redis.pttl(keys.control)).toBe(-1);
  });
}

const standing = { run: 'run1', epoch: 'e1', incarnation: 'i1', 't:users': 'g1 d1' };

describe('adopt', () => {
  decides('adopt', [
    [
      'knows the server it knows',
      { given: standing, call: ['run1', 'e2'], answers: 'known', leaves: standing },
    ],
    [
      'begins an epoch on a server it does not know',
      {
        given: standing,
        call: ['run2', 'e2'],
        answers: 'adopted',
        leaves: { ...standing, run: 'run2', epoch: 'e2' },
      },
    ],
    [
      'begins an epoch on an empty server',
      { given: {}, call: ['run1', 'e2'], answers: 'adopted', leaves: { run: 'run1', epoch: 'e2' } },
    ],
    [
      'begins an epoch where there is none, though the server is known',
      {
        given: { run: 'run1' },
        call: ['run1', 'e2'],
        answers: 'adopted',
        leaves: { run: 'run1', epoch: 'e2' },
      },
    ],
  ]);

  test('has one winner among many who meet a server at once, and its epoch stands', async () => {
    const processes = await Promise.all(Array.from({ length: 8 }, () => loadScripts(url)));
    try {
      const asked = processes.flatMap((process, i) =>
        Array.from({ length: 5 }, (_, j) => ({ process, epoch: `e${i}.${j}` })),
      );
      await scripts.redis.hset(keys.control, standing);
      const answers = await Promise.all(
        asked.map(({ process, epoch }) => process.run('adopt', keys.control, 'run2', epoch)),
      );
      const winners = asked.filter((_, i) => answers[i] === 'adopted');
      expect(winners).toHaveLength(1);
      expect(answers.filter(answer => answer === 'known')).toHaveLength(asked.length - 1);
      expect(await scripts.redis.hget(keys.control, 'epoch')).toBe(winners[0]!.epoch);
    } finally {
      for (const process of processes) process.close();
    }
  });
});

describe('epoch', () => {
  decides('epoch', [
    [
      'is written together with incarnation and generations',
      {
        given: standing,
        call: ['e2', 'run1', 'i2', '', 't:users', 'g2 d2', 't:teams', 'g3 -'],
        answers: 'raised',
        leaves: { run: 'run1', epoch: 'e2', incarnation: 'i2', 't:users': 'g2 d2', 't:teams': 'g3 -' },
      },
    ],
    [
      'leaves the incarnation that stands when it is not told one',
      {
        given: standing,
        call: ['e2', 'run1', '', ''],
        answers: 'raised',
        leaves: { ...standing, epoch: 'e2' },
      },
    ],
    [
      'is refused for another server',
      {
        given: standing,
        call: ['e2', 'run2', 'i2', '', 't:users', 'g2 d2'],
        answers: 'other_run',
        leaves: standing,
      },
    ],
    [
      'is refused for another server also where the epoch is the expected one',
      {
        given: standing,
        call: ['e2', 'run2', 'i2', 'e1', 't:users', 'g2 d2'],
        answers: 'other_run',
        leaves: standing,
      },
    ],
    [
      'is written where the record was lost, by whom the server has told its run id',
      {
        given: {},
        call: ['e2', 'run1', 'i2', ''],
        answers: 'raised',
        leaves: { run: 'run1', epoch: 'e2', incarnation: 'i2' },
      },
    ],
    [
      'closes a gap while the epoch that the gap began with stands',
      {
        given: standing,
        call: ['e2', 'run1', 'i2', 'e1', 'closed', 'e2', 't:users', 'g2 d2'],
        answers: 'raised',
        leaves: { run: 'run1', epoch: 'e2', incarnation: 'i2', closed: 'e2', 't:users': 'g2 d2' },
      },
    ],
    [
      'closes none when another one came up meanwhile, and leaves everything as it stands',
      {
        given: { ...standing, epoch: 'e1b', closed: 'e0' },
        call: ['e2', 'run1', 'i2', 'e1', 'closed', 'e2', 't:users', 'g2 d2'],
        answers: 'other_epoch',
        leaves: { ...standing, epoch: 'e1b', closed: 'e0' },
      },
    ],
    [
      'closes none where the record was lost meanwhile',
      {
        given: {},
        call: ['e2', 'run1', 'i2', 'e1', 'closed', 'e2'],
        answers: 'other_epoch',
        leaves: {},
      },
    ],
    [
      'closes a gap by the hand of the worker that leads',
      {
        given: { ...standing, worker: 'w2' },
        call: ['e2', 'run1', 'i2', 'e1 w2', 'closed', 'e2'],
        answers: 'raised',
        leaves: { ...standing, worker: 'w2', epoch: 'e2', incarnation: 'i2', closed: 'e2' },
      },
    ],
    [
      'closes none by the hand of one that led before',
      {
        given: { ...standing, worker: 'w2' },
        call: ['e2', 'run1', 'i2', 'e1 w1', 'closed', 'e2', 't:users', 'g2 d2'],
        answers: 'other_epoch',
        leaves: { ...standing, worker: 'w2' },
      },
    ],
    [
      'closes a gap by the hand of whoever asks where nobody leads: the record was lost, and written anew',
      {
        given: standing,
        call: ['e2', 'run1', 'i2', 'e1 w1', 'closed', 'e2'],
        answers: 'raised',
        leaves: { ...standing, epoch: 'e2', incarnation: 'i2', closed: 'e2' },
      },
    ],
    [
      'that is ordered leaves the last closed one named, which it is not',
      {
        given: { ...standing, closed: 'e1' },
        call: ['e2', 'run1', '', ''],
        answers: 'raised',
        leaves: { ...standing, epoch: 'e2', closed: 'e1' },
      },
    ],
  ]);
});

describe('generation', () => {
  decides('generation', [
    [
      'is raised for the tables named, and for no other',
      {
        given: { ...standing, 't:teams': 'g1 d1' },
        call: ['e1', 't:users', 'g2 d2', 't:cities', 'g3 -'],
        answers: 'raised',
        leaves: { ...standing, 't:teams': 'g1 d1', 't:users': 'g2 d2', 't:cities': 'g3 -' },
      },
    ],
    [
      'is refused under another epoch than the one that stands',
      { given: standing, call: ['e0', 't:users', 'g2 d2'], answers: 'other_epoch', leaves: standing },
    ],
    [
      'is refused where control was lost',
      { given: {}, call: ['e1', 't:users', 'g2 d2'], answers: 'other_epoch', leaves: {} },
    ],
    [
      'is raised by the worker that follows the database',
      {
        given: { ...standing, worker: 'w2' },
        call: ['e1 w2', 't:users', 'g2 d2'],
        answers: 'raised',
        leaves: { ...standing, worker: 'w2', 't:users': 'g2 d2' },
      },
    ],
    [
      'is refused to a worker that was replaced, though the epoch stands',
      {
        given: { ...standing, worker: 'w2' },
        call: ['e1 w1', 't:users', 'g2 d2'],
        answers: 'other_epoch',
        leaves: { ...standing, worker: 'w2' },
      },
    ],
    [
      'of a table in doubt keeps the digest it was begun under',
      {
        given: standing,
        call: ['e1', 't:users', 'g2 ='],
        answers: 'raised',
        leaves: { ...standing, 't:users': 'g2 d1' },
      },
    ],
    [
      'of a table in doubt that must not be cached leaves it so',
      {
        given: { ...standing, 't:users': 'g1 -' },
        call: ['e1', 't:users', 'g2 ='],
        answers: 'raised',
        leaves: { ...standing, 't:users': 'g2 -' },
      },
    ],
    [
      'of a table in doubt that is not known leaves it unknown, and reaches those behind it',
      {
        given: standing,
        call: ['e1', 't:teams', 'g2 =', 't:users', 'g2 ='],
        answers: 'raised',
        leaves: { ...standing, 't:users': 'g2 d1' },
      },
    ],
    [
      'of a table in doubt is raised by whoever works under the epoch, leading or not',
      {
        given: { ...standing, worker: 'w2' },
        call: ['e1', 't:users', 'g2 ='],
        answers: 'raised',
        leaves: { ...standing, worker: 'w2', 't:users': 'g2 d1' },
      },
    ],
    [
      'of a table in doubt is refused under another epoch',
      { given: standing, call: ['e0', 't:users', 'g2 ='], answers: 'other_epoch', leaves: standing },
    ],
    [
      'tells a digest that ends as a doubt does from a doubt',
      {
        given: standing,
        call: ['e1', 't:users', 'g2 d=='],
        answers: 'raised',
        leaves: { ...standing, 't:users': 'g2 d==' },
      },
    ],
  ]);
});

describe('remember', () => {
  const position = { owner: 'w1', lsn: '0/10', beats: '[]' };

  test.each<readonly [name: string, row: Row]>([
    [
      'writes a position for the worker that follows, and what it does not name stays',
      {
        given: position,
        call: ['w1', 'lsn', '0/20', 'epoch', 'e1'],
        answers: 'remembered',
        leaves: { ...position, lsn: '0/20', epoch: 'e1' },
      },
    ],
    [
      'makes the first to write the worker that follows',
      { given: {}, call: ['w1', 'lsn', '0/10'], answers: 'remembered', leaves: { owner: 'w1', lsn: '0/10' } },
    ],
    [
      'makes whoever writes to a position of nobody the worker that follows',
      {
        given: { lsn: '0/10' },
        call: ['w2', 'lsn', '0/20'],
        answers: 'remembered',
        leaves: { owner: 'w2', lsn: '0/20' },
      },
    ],
    [
      'is refused to a worker that another one has replaced',
      {
        given: { ...position, owner: 'w2' },
        call: ['w1', 'lsn', '0/20', 'epoch', 'e1'],
        answers: 'superseded',
        leaves: { ...position, owner: 'w2' },
      },
    ],
    [
      'is refused to a worker whose name only begins as that of the one that follows',
      { given: position, call: ['w', 'lsn', '0/20'], answers: 'superseded', leaves: position },
    ],
  ])('%s', async (_name, { given, call, answers, leaves }) => {
    const key = keys.feed('kafka:3');
    if (Object.keys(given).length > 0) await scripts.redis.hset(key, given);
    expect(await scripts.run('remember', key, ...call)).toBe(answers);
    expect(await scripts.redis.hgetall(key)).toEqual(leaves);
    expect(await scripts.redis.pttl(key)).toBe(Object.keys(leaves).length > 0 ? -1 : -2);
  });
});

describe('forget', () => {
  const position = { owner: 'w1', lsn: '0/10', beats: '[]' };

  test.each<readonly [name: string, row: Row]>([
    [
      'leaves nothing but whose the partition is',
      { given: position, call: ['w1'], answers: 'forgotten', leaves: { owner: 'w1' } },
    ],
    [
      'is refused to a worker that another one has replaced',
      {
        given: { ...position, owner: 'w2' },
        call: ['w1'],
        answers: 'superseded',
        leaves: { ...position, owner: 'w2' },
      },
    ],
    [
      'makes whoever forgets a position of nobody the worker that follows',
      { given: { lsn: '0/10' }, call: ['w2'], answers: 'forgotten', leaves: { owner: 'w2' } },
    ],
    [
      'says whose the partition is where nothing is known of it',
      { given: {}, call: ['w1'], answers: 'forgotten', leaves: { owner: 'w1' } },
    ],
  ])('%s', async (_name, { given, call, answers, leaves }) => {
    const key = keys.feed('kafka:3');
    if (Object.keys(given).length > 0) await scripts.redis.hset(key, given);
    expect(await scripts.run('forget', key, ...call)).toBe(answers);
    expect(await scripts.redis.hgetall(key)).toEqual(leaves);
  });

  test('keeps an earlier worker from filling the empty place', async () => {
    const key = keys.feed('kafka:3');
    await scripts.redis.hset(key, { ...position, owner: 'w2' });
    expect(await scripts.run('forget', key, 'w2')).toBe('forgotten');
    expect(await scripts.run('remember', key, 'w1', 'lsn', '0/10')).toBe('superseded');
    expect(await scripts.run('remember', key, 'w2', 'lsn', '0/30')).toBe('remembered');
    expect(await scripts.redis.hgetall(key)).toEqual({ owner: 'w2', lsn: '0/30' });
  });
});

test('an epoch and generations reach as many tables as a database may have', async () => {
  const tables = Array.from({ length: 12_000 }, (_, i) => [`t:table${i}`, 'g1 d1'] as const);
  const raised = tables.map(([field]) => [field, 'g2 d1'] as const);
  await scripts.redis.hset(keys.control, standing);
  const bumped = tables.map(([field]) => [field, 'g2 ='] as const);
  expect(await scripts.run('epoch', keys.control, 'e2', 'run1', 'i2', '', ...tables.flat())).toBe('raised');
  expect(await scripts.run('generation', keys.control, 'e2', ...raised.flat())).toBe('raised');
  expect(await scripts.run('generation', keys.control, 'e2', ...bumped.flat())).toBe('raised');
  expect(await scripts.redis.hgetall(keys.control)).toEqual({
    ...standing,
    epoch: 'e2',
    incarnation: 'i2',
    ...Object.fromEntries(raised),
  });
});

describe('echo', () => {
  let listener: Redis;
  const heard: string[] = [];

  beforeEach(async () => {
    heard.length = 0;
    listener = new Redis(url, { protocol: 2 });
    listener.on('message', (_channel, text) => heard.push(text));
    await listener.subscribe(keys.echo);
  });

  afterEach(() => listener.disconnect());

  /** Steps are `note <number>` and `echo <partition> <number>`; told is what each echo answered. */
  async function play(
    partitions: number,
    steps: readonly string[],
  ): Promise<{ told: number[]; heard: string[] }> {
    const key = keys.beat('writer');
    const pipeline = scripts.redis.pipeline();
    for (const step of steps) {
      const [what, ...numbers] = step.split(' ') as [string, ...string[]];
      if (what === 'note') pipeline.hset(key, `n:${numbers[0]}`, `nonces of ${numbers[0]}`);
      else scripts.stage(pipeline, 'echo', key, numbers[0]!, numbers[1]!, partitions, keys.echo);
    }
    const answers = await answersOf(pipeline.publish(keys.echo, 'end'));
    await eventually(
      'everything was heard',
      () => heard.at(-1),
      text => text === 'end',
    );
    return {
      told: steps.flatMap((step, i) => (step.startsWith('echo') ? [Number(answers[i])] : [])),
      heard: heard
        .slice(0, -1)
        .map(text => text.replace('nonces of ', ''))
        .sort(),
    };
  }

  test.each([
    ['publishes a beat once it is settled', 1, ['note 1', 'echo 0 1'], [1], ['1']],
    [
      'publishes a beat once, however often it is echoed',
      1,
      ['note 1', 'echo 0 1', 'echo 0 1'],
      [1, 0],
      ['1'],
    ],
    [
      'publishes earlier beats along with a later one',
      1,
      ['note 1', 'note 2', 'note 3', 'echo 0 2'],
      [2],
      ['1', '2'],
    ],
    ['publishes no beat beyond the settled one', 1, ['note 2', 'echo 0 1'], [0], []],
    ['waits for every partition', 3, ['note 1', 'echo 0 1', 'echo 1 1'], [0, 0], []],
    [
      'publishes with the last partition',
      3,
      ['note 1', 'echo 0 1', 'echo 2 1', 'echo 1 1'],
      [0, 0, 1],
      ['1'],
    ],
    [
      'goes by the partition that is furthest behind',
      2,
      ['note 1', 'note 2', 'note 3', 'echo 0 3', 'echo 1 1', 'echo 1 2'],
      [0, 1, 1],
      ['1', '2'],
    ],
    [
      'is not set back by a number that comes again late',
      2,
      ['note 3', 'echo 0 3', 'echo 0 1', 'echo 1 3'],
      [0, 0, 1],
      ['3'],
    ],
    ['compares numbers, not digits', 1, ['note 9', 'note 10', 'echo 0 9', 'echo 0 10'], [1, 1], ['10', '9']],
    ['has nothing to publish for a beat without nonces', 1, ['echo 0 1', 'echo 0 2'], [0, 0], []],
  ] as const)('%s', async (_name, partitions, steps, told, published) => {
    expect(await play(partitions, steps)).toEqual({ told, heard: published });
  });

  test('forgets a writer that has gone', async () => {
    await play(1, ['note 1', 'note 2', 'echo 0 1']);
    const leftMs = await scripts.redis.pttl(keys.beat('writer'));
    expect(leftMs).toBeGreaterThan(50_000);
    expect(leftMs).toBeLessThanOrEqual(60_000);
  });
});

test('nonces are taken by one of many who ask at once', async () => {
  await scripts.redis.hset(keys.nonces, { p1: 'n1', p2: 'n2' });
  const taken = await Promise.all(Array.from({ length: 5 }, () => scripts.run('take-nonces', keys.nonces)));
  expect((taken as string[][]).map(flat => flat.length).sort()).toEqual([0, 0, 0, 0, 4]);
  expect(taken).toContainEqual(['p1', 'n1', 'p2', 'n2']);
});

describe('when memory is full', () => {
  let server: TestServer;
  let full: Scripts;
  const STAMP = 'i1 e1 g1';

  beforeAll(async () => {
    server = await startRedis('cache', { settings: { 'maxmemory-policy': 'noeviction' } });
    full = await loadScripts(server.url);
  });

  afterAll(async () => {
    full?.close();
    await server?.stop();
  });

  beforeEach(async () => {
    await full.redis.config('SET', 'maxmemory', 0);
    await full.redis.flushall();
    await full.redis.hset(keys.control, standing);
    const meta = `${STAMP}\tfill1\t1`;
    await full.redis.hset(keys.row('users:1'), { 'b:a': 'body', 's:a': '100:100:', 'm:a': meta });
    await full.run('lease', keys.row('users:2'), 'a', STAMP, 'mine', 60_000, '');
    await full.redis.hset(keys.nonces, { p1: 'n1' });
    await full.redis.hset(keys.beat('writer'), { 'n:1': 'n1' });
    await full.redis.set('ballast', 'x'.repeat(2_000_000));
    await full.redis.config('SET', 'maxmemory', 1_000_000);
    await expect(full.redis.set('more', 'x')).rejects.toThrow('OOM');
  });

  test('nothing is leased or filled', async () => {
    await expect(full.run('lease', keys.row('users:3'), 'a', STAMP, 'mine', 60_000, '')).rejects.toThrow(
      'OOM',
    );
    const fill = full.run('fill', keys.row('users:2'), 'a', 'mine', '100:100:', 'body', 'meta', 0);
    await expect(fill).rejects.toThrow('OOM');
    expect(await full.redis.exists(keys.row('users:3'))).toBe(0);
    expect(Object.keys(await full.redis.hgetall(keys.row('users:2')))).toEqual(['l:a']);
  });

  test('changes still drop entries and warn fillers', async () => {
    expect(await full.run('event', keys.row('users:1'), '200')).toBe('applied');
    expect(await full.redis.exists(keys.row('users:1'))).toBe(0);
    expect(await full.run('event', keys.row('users:2'), '200')).toBe('applied');
    expect(await full.redis.hget(keys.row('users:2'), 'x:a')).toBe('200');
  });

  test('epochs and generations are still raised, and servers adopted', async () => {
    expect(await full.run('generation', keys.control, 'e1', 't:users', 'g2 d1', 't:teams', 'g2 d1')).toBe(
      'raised',
    );
    expect(await full.run('epoch', keys.control, 'e2', 'run1', 'i1', '', 't:users', 'g3 d1')).toBe('raised');
    expect(await full.run('adopt', keys.control, 'run2', 'e3')).toBe('adopted');
    expect(await full.redis.hgetall(keys.control)).toEqual({
      run: 'run2',
      epoch: 'e3',
      incarnation: 'i1',
      't:users': 'g3 d1',
      't:teams': 'g2 d1',
    });
  });

  test('tables are still put in doubt, and positions remembered', async () => {
    expect(await full.run('generation', keys.control, 'e1', 't:users', 'g2 =')).toBe('raised');
    expect(await full.redis.hget(keys.control, 't:users')).toBe('g2 d1');
    expect(await full.run('remember', keys.feed('kafka:0'), 'w1', 'offset', '7')).toBe('remembered');
    expect(await full.redis.hgetall(keys.feed('kafka:0'))).toEqual({ owner: 'w1', offset: '7' });
    expect(await full.run('forget', keys.feed('kafka:0'), 'w1')).toBe('forgotten');
    expect(await full.redis.hgetall(keys.feed('kafka:0'))).toEqual({ owner: 'w1' });
  });

  test('beats are still settled: freshness is proven all the same', async () => {
    expect(await full.run('take-nonces', keys.nonces)).toEqual(['p1', 'n1']);
    expect(await full.run('echo', keys.beat('writer'), 0, 1, 1, keys.echo)).toBe(1);
  });
});
