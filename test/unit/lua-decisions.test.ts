import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ScriptName } from '../../shared/cache/scripts.ts';
import { metaText } from '../../shared/protocol/entry.ts';
import { parseSnapshot, sees } from '../../shared/protocol/snapshot.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { loadScripts, type Scripts } from '../support/scripts.ts';

/** The decisions about the record of one row, as tables: given this record and this call, that answer and record. */

type Fields = Readonly<Record<string, string>>;

interface Row {
  /** The record before the call; none without fields. */
  readonly given: Fields;
  /** How long it was going to live; for ever unless said. */
  readonly living?: number;
  readonly call: readonly (string | number)[];
  readonly answers: unknown;
  /** The record afterwards. */
  readonly leaves: Fields;
  /** How long it lives afterwards, give or take the time the test takes. */
  readonly lives?: number | 'for ever';
}
type Table = readonly (readonly [name: string, row: Row])[];

const FUTURE = 32_503_680_000_000;
const LONG_AGO = 1;
const HOUR_MS = 3_600_000;
const LEFTOVER_MS = 60_000;
const STAMP = 'incarnation epoch generation';

/** An entry of representation `rep`, read under a snapshot that sees everything below 100 unless said. */
function stored(rep: string, entry: { snapshot?: string; fillId?: string; stamp?: string } = {}) {
  const { snapshot = '100:100:', fillId = 'fill1', stamp = STAMP } = entry;
  const rest = { etag: '"e"', rowXmin: '7', xid: '7', digest: 'd', filledAtMs: 1, expiresAtMs: 0 };
  const meta = metaText({ ...rest, stamp, fillId, found: true });
  return { [`b:${rep}`]: `body of ${rep}`, [`s:${rep}`]: snapshot, [`m:${rep}`]: meta };
}

function leased(rep: string, lease: { token?: string; deadline?: number; noted?: string } = {}): Fields {
  const { token = 'mine', deadline = FUTURE, noted } = lease;
  return {
    [`l:${rep}`]: `${token}:${deadline}`,
    ...(noted !== undefined && { [`x:${rep}`]: noted }),
  };
}

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

let scripts: Scripts;
let key: string;
let last = 0;
const keys = keysOf(namespace());

beforeAll(async () => {
  scripts = await loadScripts(process.env.TEST_CACHE_REDIS_URL!);
});

beforeEach(() => {
  last += 1;
  key = keys.row(`users:${last}`);
});

afterAll(() => scripts.close());

const run = (name: ScriptName, ...args: (string | number)[]): Promise<unknown> =>
  scripts.run(name, key, ...args);
const record = (): Promise<Fields> => scripts.redis.hgetall(key);

async function give(fields: Fields, livingMs?: number): Promise<void> {
  if (Object.keys(fields).length > 0) await scripts.redis.hset(key, fields);
  if (livingMs !== undefined) await scripts.redis.pexpire(key, livingMs);
}

async function expectToLive(lives: number | 'for ever'): Promise<void> {
  const leftMs = await scripts.redis.pttl(key);
  if (lives === 'for ever') expect(leftMs).toBe(-1);
  else {
    expect(leftMs).toBeLessThanOrEqual(lives);
    expect(leftMs).toBeGreaterThan(lives - 10_000);
  }
}

function decides(name: ScriptName, table: Table): void {
  test.each(table)('%s', async (_name, { given, living, call, answers, leaves, lives }) => {
    await give(given, living);
    expect(await run(name, ...call)).toEqual(answers);
    expect(await record()).toEqual(leaves);
    if (lives !== undefined) await expectToLive(lives);
  });
}

describe('LEASE', () => {
  const ask = (rep: string, leaseMs = HOUR_MS, judged = ''): (string | number)[] => [
    rep,
    STAMP,
    'mine',
    leaseMs,
    judged,
  ];

  /** What is granted is told by Redis' own clock, so these rows say only what stays beside the new lease. */
  const granted: readonly (readonly [name: string, row: Omit<Row, 'answers'>])[] = [
    ['is granted on a row of which nothing is kept', { given: {}, call: ask('a'), leaves: {} }],
    [
      'is granted when the lease of another is over',
      { given: leased('a', { token: 'theirs', deadline: LONG_AGO }), call: ask('a'), leaves: {} },
    ],
    [
      'empties what was noted for an older lease',
      { given: leased('a', { deadline: LONG_AGO, noted: '12 13' }), call: ask('a'), leaves: {} },
    ],
    [
      'leaves the lease and the notes of another representation alone',
      { given: leased('b', { noted: '12' }), call: ask('a'), leaves: leased('b', { noted: '12' }) },
    ],
    ['drops an entry that was judged', { given: stored('a'), call: ask('a', HOUR_MS, 'fill1'), leaves: {} }],
    [
      'drops an entry of another stamp',
      { given: stored('a', { stamp: 'incarnation epoch older' }), call: ask('a'), leaves: {} },
    ],
    [
      'drops an entry whose stamp only begins like the one of today',
      { given: stored('a', { stamp: `${STAMP}2` }), call: ask('a'), leaves: {} },
    ],
    [
      'leaves the entries of other representations alone',
      { given: { ...stored('a'), ...stored('ab') }, call: ask('a', HOUR_MS, 'fill1'), leaves: stored('ab') },
    ],
    [
      'lets a record without a body live as long as the lease and a minute',
      { given: {}, call: ask('a', 5_000), leaves: {}, lives: 5_000 + LEFTOVER_MS },
    ],
    [
      'lets a record expire again whose only body it drops',
      { given: stored('a'), call: ask('a', 5_000, 'fill1'), leaves: {}, lives: 5_000 + LEFTOVER_MS },
    ],
    [
      'lets a record with a body for ever live for ever',
      { given: stored('b'), call: ask('a'), leaves: stored('b'), lives: 'for ever' },
    ],
    [
      'makes a record with a body of short life outlive the lease',
      { given: stored('b'), living: 20_000, call: ask('a', 5_000), leaves: stored('b'), lives: 65_000 },
    ],
    [
      'does not shorten a longer life',
      { given: stored('b'), living: HOUR_MS, call: ask('a', 5_000), leaves: stored('b'), lives: HOUR_MS },
    ],
  ];

  test.each(granted)('%s', async (_name, { given, living, call, leaves, lives }) => {
    await give(given, living);
    const [kind, now] = (await run('lease', ...call)) as [string, number];
    expect(kind).toBe('granted');
    expect(await record()).toEqual({ ...leaves, 'l:a': `mine:${now + Number(call[3])}` });
    if (lives !== undefined) await expectToLive(lives);
  });

  const [body, meta] = [stored('a')['b:a'], stored('a')['m:a']];
  decides('lease', [
    [
      'answers with an entry of this stamp, and changes nothing',
      { given: stored('a'), call: ask('a'), answers: ['present', body, meta], leaves: stored('a') },
    ],
    [
      'answers with the entry that was made since another one was judged',
      {
        given: stored('a'),
        call: ask('a', HOUR_MS, 'fill0'),
        answers: ['present', body, meta],
        leaves: stored('a'),
        lives: 'for ever',
      },
    ],
  ]);

  test('makes the second filler wait as long as the lease of the first one runs', async () => {
    await run('lease', 'a', STAMP, 'theirs', HOUR_MS, '');
    const before = await record();
    const [kind, forMs] = (await run('lease', ...ask('a'))) as [string, number];
    expect(kind).toBe('wait');
    expect(forMs).toBeLessThanOrEqual(HOUR_MS);
    expect(forMs).toBeGreaterThan(HOUR_MS - 10_000);
    expect(await record()).toEqual(before);
  });

  test('goes to one of many who ask at once', async () => {
    const answers = await Promise.all(
      numbers(1, 50).map(token => run('lease', 'a', STAMP, token, HOUR_MS, '')),
    );
    const kinds = (answers as [string][]).map(([kind]) => kind).sort();
    expect(kinds).toEqual(['granted', ...Array(49).fill('wait')]);
  });
});

/** Each case: a change, a snapshot, and whether the one is visible to the other. */
const borders: readonly (readonly [name: string, xid: string, snapshot: string, isSeen: boolean])[] = [
  ['just below xmin', '99', '100:110:100', true],
  ['xmin itself, which is always running', '100', '100:110:100,105', false],
  ['xmin itself, where xmax is the same', '100', '100:100:', false],
  ['between, and ended', '104', '100:110:100,105', true],
  ['between, and running', '105', '100:110:100,105', false],
  ['the last one running', '109', '100:110:100,109', false],
  ['just below xmax, and ended', '109', '100:110:100', true],
  ['xmax itself', '110', '100:110:100', false],
  ['beyond xmax', '5000', '100:110:100', false],
  ['the head of a longer running one', '12', '10:200:10,123', true],
  ['the tail of a longer running one', '23', '10:200:10,123', true],
  ['in the middle of a longer running one', '2', '1:200:1,123', true],
  ['longer than a running one', '123', '10:200:10,12,23', true],
  ['the first, a middle and the last of the list: 12', '12', '12:99:12,13,14', false],
  ['the first, a middle and the last of the list: 13', '13', '12:99:12,13,14', false],
  ['the first, a middle and the last of the list: 14', '14', '12:99:12,13,14', false],
  ['of another epoch with the same low half', '4294967308', '12:5000000000:12', true],
  ['larger as a number, smaller as a text', '1000', '999:1001:999', true],
  ['smaller as a number, larger as a text', '999', '1000:1000:', true],
  ['the largest that can be told apart', '9007199254740990', '9007199254740990:9007199254740990:', false],
  ['the largest but one', '9007199254740989', '9007199254740990:9007199254740990:', true],
];

describe('what a snapshot sees', () => {
  test.each(borders)('%s', async (_name, xid, snapshot, isSeen) => {
    await give(leased('a', { noted: xid }));
    expect(await run('fill', 'a', 'mine', snapshot, 'body', 'meta', 0)).toBe(isSeen ? 'stored' : 'fenced');
    await scripts.redis.del(key);
    await give(stored('a', { snapshot }));
    expect(await run('event', xid)).toBe(isSeen ? 'already_fresh' : 'applied');
    expect(sees(parseSnapshot(snapshot), BigInt(xid))).toBe(isSeen);
  });
});

describe('FILL', () => {
  const SNAPSHOT = '100:110:100,105';
  const fill = (ttlMs = 0, token = 'mine'): (string | number)[] => [
    'a',
    token,
    SNAPSHOT,
    'new body',
    'new meta',
    ttlMs,
  ];
  const filled = { 'b:a': 'new body', 's:a': SNAPSHOT, 'm:a': 'new meta' };

  decides('fill', [
    [
      'of the holder is stored, and gives the lease back',
      { given: leased('a'), call: fill(), answers: 'stored', leaves: filled },
    ],
    [
      'is stored when its snapshot sees every noted change, whose notes go',
      { given: leased('a', { noted: '99 104 7' }), call: fill(), answers: 'stored', leaves: filled },
    ],
    [
      'after the deadline is as good as before, while the lease stands',
      { given: leased('a', { deadline: LONG_AGO }), call: fill(), answers: 'stored', leaves: filled },
    ],
    [
      'is refused when the record was evicted, and its lease with it',
      { given: {}, call: fill(), answers: 'lease_lost', leaves: {} },
    ],
    [
      'is refused when another representation alone is leased',
      { given: leased('ab'), call: fill(), answers: 'lease_lost', leaves: leased('ab') },
    ],
    [
      'is refused by the token of another, whose lease and notes stay',
      {
        given: leased('a', { token: 'theirs', noted: '7' }),
        call: fill(),
        answers: 'lease_lost',
        leaves: leased('a', { token: 'theirs', noted: '7' }),
      },
    ],
    [
      'is refused by a token that only begins like the holder’s',
      {
        given: leased('a', { token: 'mine:2' }),
        call: fill(),
        answers: 'lease_lost',
        leaves: leased('a', { token: 'mine:2' }),
      },
    ],
    [
      'is refused where an entry is stored and nobody holds a lease',
      { given: stored('a'), call: fill(), answers: 'lease_lost', leaves: stored('a') },
    ],
    ...(['105 7 8', '7 105 8', '7 8 105', '110', '111 112'] as const).map(
      noted =>
        [
          `is fenced when its snapshot misses one of ${noted}, and the lease is given back`,
          { given: leased('a', { noted }), call: fill(), answers: 'fenced', leaves: {} },
        ] as const,
    ),
    [
      'is not fenced by what was noted for another representation',
      {
        given: { ...leased('a'), ...leased('b', { noted: '105' }) },
        call: fill(),
        answers: 'stored',
        leaves: { ...filled, ...leased('b', { noted: '105' }) },
      },
    ],
    [
      'that is fenced leaves the other representations alone',
      {
        given: { ...leased('a', { noted: '105' }), ...stored('b') },
        call: fill(),
        answers: 'fenced',
        leaves: stored('b'),
      },
    ],
  ]);

  describe('lets the record live', () => {
    const other = stored('b');
    const both = { ...filled, ...other };
    const given = leased('a');
    const living = LEFTOVER_MS;
    decides('fill', [
      [
        'for ever, without a time to live',
        { given, living, call: fill(0), answers: 'stored', leaves: filled, lives: 'for ever' },
      ],
      [
        'as long as its only entry, if that is shorter than before',
        { given, living, call: fill(30_000), answers: 'stored', leaves: filled, lives: 30_000 },
      ],
      [
        'as long as its only entry, if that is longer than before',
        { given, living, call: fill(HOUR_MS), answers: 'stored', leaves: filled, lives: HOUR_MS },
      ],
      [
        'for a time, if it was going to live for ever, and no other entry is there to need it',
        { given, call: fill(HOUR_MS), answers: 'stored', leaves: filled, lives: HOUR_MS },
      ],
      [
        'as long as the longest: the new one',
        {
          given: { ...given, ...other },
          living,
          call: fill(HOUR_MS),
          answers: 'stored',
          leaves: both,
          lives: HOUR_MS,
        },
      ],
      [
        'as long as the longest: the one before',
        {
          given: { ...given, ...other },
          living: HOUR_MS,
          call: fill(30_000),
          answers: 'stored',
          leaves: both,
          lives: HOUR_MS,
        },
      ],
      [
        'for ever, if the one before does',
        {
          given: { ...given, ...other },
          call: fill(30_000),
          answers: 'stored',
          leaves: both,
          lives: 'for ever',
        },
      ],
    ]);
  });
});

describe('EVENT', () => {
  const fresh = '300:300:';
  decides('event', [
    ['does nothing where nothing is kept', { given: {}, call: ['200'], answers: 'absent', leaves: {} }],
    [
      'drops an entry that has not seen it',
      { given: stored('a'), call: ['200'], answers: 'applied', leaves: {} },
    ],
    [
      'drops an entry that has not seen one of several',
      { given: stored('a'), call: ['7', '200', '8'], answers: 'applied', leaves: {} },
    ],
    [
      'keeps an entry that has seen it: an own write, a replay, a duplicate',
      {
        given: stored('a'),
        call: ['99', '7'],
        answers: 'already_fresh',
        leaves: stored('a'),
        lives: 'for ever',
      },
    ],
    [
      'reaches every representation',
      {
        given: { ...stored('a'), ...stored('b'), ...stored('c') },
        call: ['200'],
        answers: 'applied',
        leaves: {},
      },
    ],
    [
      'goes on behind a fresh entry',
      {
        given: { ...stored('a', { snapshot: fresh }), ...stored('b') },
        call: ['200'],
        answers: 'applied',
        leaves: stored('a', { snapshot: fresh }),
      },
    ],
    [
      'keeps a fresh entry behind one that it drops',
      {
        given: { ...stored('a'), ...stored('b', { snapshot: fresh }) },
        call: ['200'],
        answers: 'applied',
        leaves: stored('b', { snapshot: fresh }),
        lives: 'for ever',
      },
    ],
    [
      'warns a filler behind a fresh entry',
      {
        given: { ...stored('a', { snapshot: fresh }), ...leased('b') },
        call: ['200'],
        answers: 'applied',
        leaves: { ...stored('a', { snapshot: fresh }), ...leased('b', { noted: '200' }) },
      },
    ],
    [
      'warns every filler, and drops what stands between them',
      {
        given: { ...leased('a'), ...stored('b'), ...leased('c', { noted: '150' }) },
        call: ['200'],
        answers: 'applied',
        leaves: { ...leased('a', { noted: '200' }), ...leased('c', { noted: '150 200' }) },
      },
    ],
    [
      'warns a filler whose deadline has passed: it may be late, and will be believed',
      {
        given: leased('a', { deadline: LONG_AGO }),
        call: ['200'],
        answers: 'applied',
        leaves: leased('a', { deadline: LONG_AGO, noted: '200' }),
      },
    ],
    [
      'notes a change once, however often it comes',
      {
        given: leased('a', { noted: '200' }),
        call: ['200', '201', '200'],
        answers: 'applied',
        leaves: leased('a', { noted: '200 201' }),
      },
    ],
    [
      'notes a change that is part of one already noted',
      {
        given: leased('a', { noted: '1234' }),
        call: ['123', '234', '23'],
        answers: 'applied',
        leaves: leased('a', { noted: '1234 123 234 23' }),
      },
    ],
    [
      'notes sixteen changes',
      {
        given: leased('a', { noted: numbers(1, 15).join(' ') }),
        call: ['16'],
        answers: 'applied',
        leaves: leased('a', { noted: numbers(1, 16).join(' ') }),
      },
    ],
    [
      'does not count again what is noted already',
      {
        given: leased('a', { noted: numbers(1, 16).join(' ') }),
        call: ['1', '16'],
        answers: 'applied',
        leaves: leased('a', { noted: numbers(1, 16).join(' ') }),
      },
    ],
    [
      'takes the lease away at the seventeenth',
      {
        given: { ...leased('a', { noted: numbers(1, 16).join(' ') }), ...leased('b') },
        call: ['17'],
        answers: 'applied',
        leaves: leased('b', { noted: '17' }),
      },
    ],
    [
      'takes the lease away at seventeen that come at once',
      { given: leased('a'), call: numbers(1, 17), answers: 'applied', leaves: {} },
    ],
    [
      'lets what is left without a body expire',
      {
        given: { ...stored('a'), ...leased('b') },
        call: ['200'],
        answers: 'applied',
        leaves: leased('b', { noted: '200' }),
        lives: LEFTOVER_MS,
      },
    ],
    [
      'does not prolong a record that expires',
      {
        given: leased('a'),
        living: 20_000,
        call: ['200'],
        answers: 'applied',
        leaves: leased('a', { noted: '200' }),
        lives: 20_000,
      },
    ],
    [
      'lets a record with a body for ever live for ever',
      {
        given: { ...stored('a'), ...leased('b') },
        call: ['7'],
        answers: 'applied',
        leaves: { ...stored('a'), ...leased('b', { noted: '7' }) },
        lives: 'for ever',
      },
    ],
  ]);
});

describe('RELEASE', () => {
  decides('release', [
    [
      'gives back the own lease, with what was noted for it',
      {
        given: { ...leased('a', { noted: '5' }), ...stored('b') },
        call: ['a', 'mine'],
        answers: 1,
        leaves: stored('b'),
      },
    ],
    [
      'leaves the lease of another alone',
      {
        given: leased('a', { token: 'theirs' }),
        call: ['a', 'mine'],
        answers: 0,
        leaves: leased('a', { token: 'theirs' }),
      },
    ],
    ['is nothing where nobody holds a lease', { given: {}, call: ['a', 'mine'], answers: 0, leaves: {} }],
  ]);
});

describe('a filler that is late', () => {
  /** A lease of one millisecond, and Redis' own clock beyond it. */
  async function leaseThatIsOver(token: string): Promise<void> {
    const [kind, now] = (await run('lease', 'a', STAMP, token, 1, '')) as [string, number];
    expect(kind).toBe('granted');
    await eventually(
      'the deadline passed',
      async () => (await scripts.redis.time()).map(Number) as [number, number],
      ([seconds, micros]) => seconds * 1_000 + Math.floor(micros / 1_000) > now + 1,
    );
  }
  const fill = (token: string, snapshot: string): Promise<unknown> =>
    run('fill', 'a', token, snapshot, 'body', 'meta', 0);

  test('is believed while nobody else has taken over', async () => {
    await leaseThatIsOver('mine');
    expect(await fill('mine', '100:100:')).toBe('stored');
  });

  test('is fenced by a change that came after its deadline', async () => {
    await leaseThatIsOver('mine');
    expect(await run('event', '100')).toBe('applied');
    expect(await fill('mine', '100:100:')).toBe('fenced');
    expect(await record()).toEqual({});
  });

  test('has lost to the one who took over, also when it comes first', async () => {
    await leaseThatIsOver('mine');
    await run('event', '100');
    await run('lease', 'a', STAMP, 'next', HOUR_MS, '');
    expect(await fill('mine', '100:100:')).toBe('lease_lost');
    expect(await fill('next', '101:101:')).toBe('stored');
  });

  test('loses nothing to a change that its successor’s snapshot cannot miss', async () => {
    await leaseThatIsOver('mine');
    await run('event', '100');
    await run('lease', 'a', STAMP, 'next', HOUR_MS, '');
    // Noted before this lease; had it been kept, the change would go on fencing whoever reads before it is visible.
    expect(await fill('next', '100:100:')).toBe('stored');
    expect(await run('event', '100')).toBe('applied');
    expect(await record()).toEqual({});
  });

  test('is refused after an eviction, though nobody else came', async () => {
    await run('lease', 'a', STAMP, 'mine', HOUR_MS, '');
    await scripts.redis.del(key);
    expect(await run('event', '100')).toBe('absent');
    expect(await fill('mine', '100:100:')).toBe('lease_lost');
  });

  test('is refused after an eviction, though another asked in between', async () => {
    await run('lease', 'a', STAMP, 'mine', HOUR_MS, '');
    await scripts.redis.del(key);
    await run('event', '100');
    await run('lease', 'a', STAMP, 'next', HOUR_MS, '');
    expect(await fill('mine', '100:100:')).toBe('lease_lost');
  });
});
