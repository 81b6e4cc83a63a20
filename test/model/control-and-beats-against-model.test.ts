import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { keysOf } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { answersOf, loadScripts, type Scripts } from '../support/scripts.ts';
import { BeatsModel } from './beats-model.ts';
import { ControlModel } from './control-model.ts';

/** As with the records of rows: sequences at random, on a real Redis and on a model, and the same answers. */
const RUNS = 10_000;
const LONGEST = 14;

const url = process.env.TEST_CACHE_REDIS_URL!;
const keys = keysOf(namespace());
let scripts: Scripts;
let sequence = 0;

const seen = new Map<string, number>();
const count = (answer: string): void => {
  seen.set(answer, (seen.get(answer) ?? 0) + 1);
};
const rarest = (...answers: string[]): number => Math.min(...answers.map(answer => seen.get(answer) ?? 0));

beforeAll(async () => {
  scripts = await loadScripts(url);
});

afterAll(() => scripts.close());

const timeOf = (answer: unknown): number => {
  const [seconds, micros] = (answer as string[]).map(Number) as [number, number];
  return seconds * 1_000 + Math.floor(micros / 1_000);
};

const sequenceOf = <T>(command: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.array(command, { minLength: 1, maxLength: LONGEST, size: 'max' });

describe('control', () => {
  const run = fc.constantFrom('run1', 'run1', 'run2');
  const tables = fc.uniqueArray(
    fc.tuple(fc.constantFrom('t:users', 't:billing.invoices', 't:teams'), fc.constantFrom('g1 d1', 'g2 -')),
    { selector: ([field]) => field },
  );
  const epoch = fc.constantFrom('e1', 'e2', 'e3');
  const command = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('adopt' as const), run, epoch }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('epoch' as const),
        run,
        epoch,
        incarnation: fc.constantFrom('', 'i1', 'i2'),
        tables,
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('generation' as const),
        epoch,
        tables: tables.filter(some => some.length > 0),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'lose' as const }) },
  );

  test(`answers as the model does, in ${RUNS} sequences`, async () => {
    await fc.assert(
      fc.asyncProperty(sequenceOf(command), async commands => {
        sequence += 1;
        const { control } = keysOf(`${keys.namespace}:${sequence}`);
        const pipeline = scripts.redis.pipeline();
        for (const one of commands) {
          if (one.do === 'adopt') scripts.stage(pipeline, 'adopt', control, one.run, one.epoch);
          else if (one.do === 'epoch') {
            const rest = [one.incarnation, ...one.tables.flat()];
            scripts.stage(pipeline, 'epoch', control, one.epoch, one.run, ...rest);
          } else if (one.do === 'generation') {
            scripts.stage(pipeline, 'generation', control, one.epoch, ...one.tables.flat());
          } else pipeline.del(control);
          pipeline.hgetall(control).pttl(control);
        }
        const answers = await answersOf(pipeline.unlink(control));
        const model = new ControlModel();
        for (const [i, one] of commands.entries()) {
          const [answer, fields, expiry] = answers.slice(3 * i, 3 * i + 3);
          if (one.do === 'lose') model.lose();
          else {
            const expected =
              one.do === 'adopt'
                ? model.adopt(one.run, one.epoch)
                : one.do === 'epoch'
                  ? model.epoch(one.epoch, one.run, one.incarnation, one.tables)
                  : model.generation(one.epoch, one.tables);
            count(`${one.do} ${expected}`);
            expect(answer).toBe(expected);
          }
          expect(fields).toEqual(model.fields());
          expect(expiry).toBe(Object.keys(model.fields()).length > 0 ? -1 : -2);
        }
      }),
      { numRuns: RUNS },
    );
    const answers = ['adopt known', 'adopt adopted', 'epoch raised', 'epoch other_run'];
    expect(rarest(...answers, 'generation raised', 'generation other_epoch')).toBeGreaterThan(RUNS / 20);
  }, 60_000);
});

describe('beats', () => {
  const BEATS_LAST_MS = 60_000;
  const partition = fc.nat(2);
  const number = fc.integer({ min: 1, max: 6 });
  const command = fc.oneof(
    { weight: 1, arbitrary: fc.record({ do: fc.constant('note' as const), number }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('echo' as const), partition, number }) },
  );

  test(`are echoed as the model says, in ${RUNS} sequences`, async () => {
    const heard: string[] = [];
    const listener = new Redis(url, { protocol: 2 });
    listener.on('message', (_channel, text) => heard.push(text));
    await listener.subscribe(keys.echo);
    const sequences = fc.tuple(fc.integer({ min: 1, max: 3 }), sequenceOf(command));
    try {
      await fc.assert(
        fc.asyncProperty(sequences, async ([partitions, commands]) => {
          heard.length = 0;
          sequence += 1;
          const key = keys.beat(`writer${sequence}`);
          const pipeline = scripts.redis.pipeline().time();
          for (const [i, one] of commands.entries()) {
            if (one.do === 'note') pipeline.hset(key, `n:${one.number}`, `nonce${i}`);
            else {
              const place = one.partition % partitions;
              scripts.stage(pipeline, 'echo', key, place, one.number, partitions, keys.echo);
            }
            pipeline.hgetall(key).pexpiretime(key).publish(keys.echo, `after ${i}`);
          }
          const [start, ...answers] = await answersOf(pipeline.time().unlink(key));
          const model = new BeatsModel();
          const published: string[] = [];
          for (const [i, one] of commands.entries()) {
            const [answer, fields, expiresAtMs] = answers.slice(4 * i, 4 * i + 3);
            if (one.do === 'note') model.note(one.number, `nonce${i}`);
            else {
              const due = model.echo(one.partition % partitions, one.number, partitions);
              count(due.length > 0 ? 'echoed' : 'not yet');
              expect(answer).toBe(due.length);
              published.push(...due.sort());
              expect(Number(expiresAtMs) - BEATS_LAST_MS).toBeGreaterThanOrEqual(timeOf(start));
              expect(Number(expiresAtMs) - BEATS_LAST_MS).toBeLessThanOrEqual(timeOf(answers.at(-2)));
            }
            published.push(`after ${i}`);
            expect(fields).toEqual(model.fields());
          }
          await eventually(
            'every message was heard',
            () => heard.length,
            length => length >= published.length,
          );
          expect(sortedBetweenMarks(heard)).toEqual(published);
        }),
        { numRuns: RUNS },
      );
      expect(rarest('echoed', 'not yet')).toBeGreaterThan(RUNS / 20);
    } finally {
      listener.disconnect();
    }
  }, 60_000);

  /** Beats that become due at once have no order among them. */
  function sortedBetweenMarks(messages: readonly string[]): string[] {
    const groups: string[][] = [[]];
    for (const text of messages) {
      if (!text.startsWith('after ')) groups.at(-1)!.push(text);
      else {
        groups.at(-1)!.sort().push(text);
        groups.push([]);
      }
    }
    return groups.flat();
  }
});

describe('nonces', () => {
  const command = fc.oneof(
    fc.record({ process: fc.constantFrom('p1', 'p2', 'p3'), nonce: fc.string({ maxLength: 8 }) }),
    fc.constant('take' as const),
  );

  test(`are taken as the model says, once each, in ${RUNS} sequences`, async () => {
    await fc.assert(
      fc.asyncProperty(sequenceOf(command), async commands => {
        sequence += 1;
        const { nonces } = keysOf(`${keys.namespace}:${sequence}`);
        const pipeline = scripts.redis.pipeline();
        for (const one of commands) {
          if (one === 'take') scripts.stage(pipeline, 'take-nonces', nonces);
          else pipeline.hset(nonces, one.process, one.nonce);
        }
        const answers = await answersOf(pipeline.unlink(nonces));
        const left = new Map<string, string>();
        for (const [i, one] of commands.entries()) {
          if (one !== 'take') left.set(one.process, one.nonce);
          else {
            const flat = answers[i] as string[];
            const taken = flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1]!] as const] : []));
            expect(new Map(taken)).toEqual(left);
            expect(flat).toHaveLength(2 * left.size);
            left.clear();
          }
        }
      }),
      { numRuns: RUNS },
    );
  }, 60_000);
});
