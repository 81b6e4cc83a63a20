import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { keysOf } from '../../shared/resources/keys.ts';
import { namespace } from '../support/namespace.ts';
import { answersOf, loadScripts, type Scripts } from '../support/scripts.ts';
import { LONG_AGO, RecordModel, type StoredEntry } from './record-model.ts';

/**
 * Sequences of commands at random, sent to a real Redis and to a model written from the protocol's prose: the same
 * answers, and after every command the same record. A sequence travels as one pipeline. Nothing sleeps: leases
 * last an hour or no time at all, and a deadline passes by being put into the past.
 */
const RUNS = 10_000;
const LONGEST = 14;

const keys = keysOf(namespace());
let scripts: Scripts;
let sequence = 0;

/** How often each answer came: a property whose sequences never get anywhere would hold for anything. */
const seen = new Map<string, number>();
const count = (answer: string): void => {
  seen.set(answer, (seen.get(answer) ?? 0) + 1);
};
const rarest = (...answers: string[]): number => Math.min(...answers.map(answer => seen.get(answer) ?? 0));

beforeAll(async () => {
  scripts = await loadScripts(process.env.TEST_CACHE_REDIS_URL!);
});

afterAll(() => scripts.close());

const timeOf = (answer: unknown): number => {
  const [seconds, micros] = (answer as string[]).map(Number) as [number, number];
  return seconds * 1_000 + Math.floor(micros / 1_000);
};

describe('one row record', () => {
  // Ids of which one is part of another's digits, on both sides of 2^32, and close below 2^53.
  const xids = ['1', '2', '12', '13', '23', '112', '123', '1123', '4294967295', '4294967296', '4294967308']
    .concat(['4294968419', '9007199254740980', '9007199254740989', '31', '32', '33', '34', '35', '36'])
    .sort((a, b) => Number(a) - Number(b));
  const representation = fc.constantFrom('a', 'a', 'ab', 'c');
  const stamp = fc.constantFrom('i e g', 'i e g', 'i e g1');

  const place = fc.nat(xids.length - 1);
  const snapshot = fc.oneof(
    fc.tuple(place, place, fc.subarray(xids, { maxLength: 6 })).map(([one, other, running]) => {
      const [xmin, xmax] = [xids[Math.min(one, other)]!, xids[Math.max(one, other)]!];
      const between = running.filter(xid => BigInt(xid) >= BigInt(xmin) && BigInt(xid) < BigInt(xmax));
      return `${xmin}:${xmax}:${between.join(',')}`;
    }),
    fc.constant('9007199254740990:9007199254740990:'),
  );

  const command = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('lease' as const),
        rep: representation,
        stamp,
        leaseMs: fc.constantFrom(3_600_000, 3_600_000, 0),
        /** Which of the earlier fills is judged unservable, counted backwards; none beyond them. */
        judged: fc.nat(6),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('fill' as const),
        rep: representation,
        stamp,
        /** Whose token, counted backwards through the leases asked for; a stranger's beyond them. */
        holder: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) }),
        snapshot,
        ttlMs: fc.constantFrom(0, 30_000, 600_000, 7_200_000),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('event' as const),
        xids: fc.oneof(
          { weight: 5, arbitrary: fc.subarray(xids, { minLength: 1, maxLength: 2 }) },
          { weight: 1, arbitrary: fc.shuffledSubarray(xids, { minLength: 8 }) },
        ),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('pass' as const), rep: representation }) },
    { weight: 1, arbitrary: fc.constant({ do: 'evict' as const }) },
  );
  type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

  /** What the commands of a sequence are in full: tokens and fill ids are named after their place in it. */
  function* inFull(commands: readonly Command[]) {
    const tokens = new Map<string, string[]>();
    const fills = new Map<string, string[]>();
    for (const [i, one] of commands.entries()) {
      if (one.do === 'lease') {
        const judged = fills.get(one.rep)?.at(-1 - one.judged) ?? '';
        const token = `token:${i}`;
        tokens.set(one.rep, [...(tokens.get(one.rep) ?? []), token]);
        yield { ...one, token, judged };
      } else if (one.do === 'fill') {
        const token = tokens.get(one.rep)?.at(-1 - one.holder) ?? 'a stranger';
        const fillId = `fill${i}`;
        fills.set(one.rep, [...(fills.get(one.rep) ?? []), fillId]);
        const meta = `${one.stamp}\t${fillId}\t1`;
        const entry: StoredEntry = { ...one, fillId, meta, body: `body ${i}` };
        yield { ...one, token, entry };
      } else yield one;
    }
  }
  type FullCommand = ReturnType<typeof inFull> extends Generator<infer T> ? T : never;

  /** A deadline put into the past, if there is one: time itself, as far as a script can tell. */
  const PASS = `local held = redis.call('HGET', KEYS[1], ARGV[1])
    if not held then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], string.match(held, '^.*:') .. '${LONG_AGO}')
    return 1`;

  async function onRedis(key: string, commands: readonly FullCommand[]): Promise<unknown[]> {
    const pipeline = scripts.redis.pipeline().time();
    for (const one of commands) {
      if (one.do === 'lease') {
        scripts.stage(pipeline, 'lease', key, one.rep, one.stamp, one.token, one.leaseMs, one.judged);
      } else if (one.do === 'fill') {
        const { body, meta } = one.entry;
        scripts.stage(pipeline, 'fill', key, one.rep, one.token, one.snapshot, body, meta, one.ttlMs);
      } else if (one.do === 'event') scripts.stage(pipeline, 'event', key, ...one.xids);
      else if (one.do === 'pass') pipeline.eval(PASS, 1, key, `l:${one.rep}`);
      else pipeline.del(key);
      pipeline.hgetall(key).pexpiretime(key);
    }
    return answersOf(pipeline.time().unlink(key));
  }

  /** The model's answer in the words of the scripts. Only Redis knows the time, so the model is told it. */
  function onModel(model: RecordModel, one: FullCommand, now: number): unknown {
    switch (one.do) {
      case 'lease': {
        const answer = model.lease(one.rep, { ...one, now });
        count(answer.kind);
        if (answer.kind === 'present') return ['present', answer.entry.body, answer.entry.meta];
        return answer.kind === 'wait' ? ['wait', answer.forMs] : ['granted', now];
      }
      case 'fill': {
        const answer = model.fill(one.rep, one.token, one.entry, one.ttlMs);
        count(answer);
        return answer;
      }
      case 'event': {
        const answer = model.event(one.xids);
        count(answer);
        return answer;
      }
      case 'pass':
        return model.passDeadline(one.rep) ? 1 : 0;
      case 'evict': {
        const existed = model.exists;
        model.evict();
        return existed ? 1 : 0;
      }
    }
  }

  const sorted = (fields: Record<string, string>): Record<string, string | string[]> =>
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) =>
        name.startsWith('x:') ? [name, value.split(' ').sort()] : [name, value],
      ),
    );

  /** A lifetime in milliseconds, or the words of PEXPIRETIME for "for ever" and for "no record". */
  const lifetimeOf = (model: RecordModel): number => model.lifetimeMs ?? (model.exists ? -1 : -2);

  /** The time a LEASE was decided at, as far as its answer tells; it must lie between those around the sequence. */
  function nowOf(model: RecordModel, one: FullCommand, answer: unknown, startMs: number): number {
    if (one.do !== 'lease') return startMs;
    const [kind, ms] = answer as [string, number];
    if (kind === 'granted') return ms;
    const held = model.fields()[`l:${one.rep}`];
    return kind === 'wait' && typeof held === 'string' ? Number(held.split(':').at(-1)) - ms : startMs;
  }

  async function answersAgree(commands: readonly Command[]): Promise<void> {
    const full = [...inFull(commands)];
    sequence += 1;
    const [start, ...answers] = await onRedis(keys.row(`users:${sequence}`), full);
    const [startMs, endMs] = [timeOf(start), timeOf(answers.at(-2))];
    const model = new RecordModel();
    const [told, expected]: [unknown[], unknown[]] = [[], []];
    let latestMs = startMs;
    for (const [i, one] of full.entries()) {
      const [answer, fields, expiresAtMs] = answers.slice(3 * i, 3 * i + 3);
      const now = nowOf(model, one, answer, latestMs);
      if (now < latestMs || now > endMs) throw new RangeError(`step ${i} was decided at ${now}`);
      latestMs = now;
      expected.push(onModel(model, one, now), model.fields(), lifetimeOf(model));
      const setAtMs = Number(expiresAtMs) - (model.lifetimeMs ?? 0);
      const isAsExpected = model.lifetimeMs !== null && setAtMs >= startMs && setAtMs <= endMs;
      told.push(answer, sorted(fields as Record<string, string>));
      told.push(isAsExpected ? model.lifetimeMs : expiresAtMs);
    }
    // Once for all steps: to call `expect` costs more than what it compares.
    expect(told).toEqual(expected);
  }

  test(`answers as the model does, in ${RUNS} sequences`, async () => {
    const sequences = fc.array(command, { minLength: 1, maxLength: LONGEST, size: 'max' });
    await fc.assert(fc.asyncProperty(sequences, answersAgree), { numRuns: RUNS });
    expect(rarest('present', 'wait', 'granted', 'stored', 'fenced', 'lease_lost')).toBeGreaterThan(
      RUNS / 100,
    );
    expect(rarest('applied', 'already_fresh', 'absent')).toBeGreaterThan(RUNS / 100);
  }, 180_000);
});
