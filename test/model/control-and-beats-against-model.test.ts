import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { CacheConnection } from '../../shared/cache/connection.ts';
import { FeedPositions } from '../../shared/cache/feed-positions.ts';
import { silentObserver } from '../../shared/observe.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { answersOf, loadScripts, type Scripts } from '../support/scripts.ts';
import { BeatsModel } from './beats-model.ts';
import { ControlModel } from './control-model.ts';
import { PositionModel } from './position-model.ts';

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
  const table = fc.constantFrom('t:users', 't:billing.invoices', 't:teams');
  const generation = fc.constantFrom('g1', 'g2');
  const worker = fc.constantFrom('w1', 'w2');
  const tables = fc.uniqueArray(fc.tuple(table, generation, fc.constantFrom('d1', '-')), {
    selector: ([field]) => field,
  });
  const doubted = fc.uniqueArray(fc.tuple(table, generation, fc.constant(null)), {
    selector: ([field]) => field,
    minLength: 1,
  });
  /** Which of the epochs before, counted backwards: most often the last one that was tried. */
  const before = fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 }) },
  );
  const command = fc.oneof(
    { weight: 2, arbitrary: fc.record({ do: fc.constant('adopt' as const), run }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('epoch' as const),
        run,
        incarnation: fc.constantFrom('', 'i1', 'i2'),
        closes: fc.option(fc.record({ back: before, worker })),
        tables,
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('claim' as const), worker }) },
    {
      weight: 4,
      arbitrary: fc.oneof(
        fc.record({
          do: fc.constant('generation' as const),
          under: before,
          worker: fc.option(worker),
          tables: tables.filter(some => some.length > 0),
        }),
        fc.record({
          do: fc.constant('generation' as const),
          under: before,
          worker: fc.constant(null),
          tables: doubted,
        }),
      ),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'lose' as const }) },
  );
  type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

  /** Commands with the epochs they speak of by name: no epoch is ever used twice. */
  function* inFull(commands: readonly Command[]) {
    const epochs: string[] = [];
    const named = (back: number): string => epochs.at(-1 - back) ?? 'none of them';
    for (const [i, one] of commands.entries()) {
      const epoch = `e${i}`;
      if (one.do === 'generation') yield { ...one, under: named(one.under) };
      else if (one.do === 'epoch') {
        const { closes } = one;
        yield { ...one, epoch, closes: closes && { epoch: named(closes.back), worker: closes.worker } };
      } else if (one.do === 'adopt') yield { ...one, epoch };
      else yield one;
      if (one.do === 'epoch' || one.do === 'adopt') epochs.push(epoch);
    }
  }
  type FullCommand = ReturnType<typeof inFull> extends Generator<infer T> ? T : never;

  const pairs = (states: readonly (readonly [string, string, string | null])[]): string[] =>
    states.flatMap(([field, raised, digest]) => [field, `${raised} ${digest ?? '='}`]);

  function stage(pipeline: ReturnType<Redis['pipeline']>, control: string, one: FullCommand): void {
    if (one.do === 'adopt') scripts.stage(pipeline, 'adopt', control, one.run, one.epoch);
    else if (one.do === 'epoch') {
      const closed = one.closes === null ? [] : ['closed', one.epoch];
      const opened = one.closes === null ? '' : `${one.closes.epoch} ${one.closes.worker}`;
      const rest = [one.incarnation, opened, ...closed, ...pairs(one.tables)];
      scripts.stage(pipeline, 'epoch', control, one.epoch, one.run, ...rest);
    } else if (one.do === 'generation') {
      const under = one.worker === null ? one.under : `${one.under} ${one.worker}`;
      scripts.stage(pipeline, 'generation', control, under, ...pairs(one.tables));
    } else if (one.do === 'claim') pipeline.hset(control, 'worker', one.worker);
    else pipeline.del(control);
  }

  /** What the command answers; undefined where nothing was decided. */
  function onModel(model: ControlModel, one: FullCommand): string | undefined {
    switch (one.do) {
      case 'adopt':
        return model.adopt(one.run, one.epoch);
      case 'epoch': {
        const states = one.tables.map(([field, ...state]) => [field, state.join(' ')] as const);
        return model.epoch(one.epoch, one.run, one.incarnation, one.closes, states);
      }
      case 'generation':
        return model.generation(one.under, one.worker, one.tables);
      case 'claim':
        return void model.claim(one.worker);
      case 'lose':
        return void model.lose();
    }
  }

  test(`answers as the model does, in ${RUNS} sequences`, async () => {
    await fc.assert(
      fc.asyncProperty(sequenceOf(command), async commands => {
        sequence += 1;
        const { control } = keysOf(`${keys.namespace}:${sequence}`);
        const pipeline = scripts.redis.pipeline();
        const full = [...inFull(commands)];
        for (const one of full) {
          stage(pipeline, control, one);
          pipeline.hgetall(control).pttl(control);
        }
        const answers = await answersOf(pipeline.unlink(control));
        const model = new ControlModel();
        for (const [i, one] of full.entries()) {
          const [answer, fields, expiry] = answers.slice(3 * i, 3 * i + 3);
          const expected = onModel(model, one);
          if (expected !== undefined) {
            count(`${one.do} ${expected}`);
            if (one.do === 'epoch' && one.closes !== null) count(`closing ${expected}`);
            expect(answer).toBe(expected);
          }
          expect(fields).toEqual(model.fields());
          const { epoch, closed } = fields as Record<string, string>;
          count(model.isClosed ? 'closed' : 'open');
          expect(epoch !== undefined && epoch === closed).toBe(model.isClosed);
          expect(expiry).toBe(Object.keys(model.fields()).length > 0 ? -1 : -2);
        }
      }),
      { numRuns: RUNS },
    );
    const answers = ['adopt known', 'adopt adopted', 'epoch raised', 'epoch other_run', 'epoch other_epoch'];
    const raised = ['generation raised', 'generation other_epoch', 'closing raised', 'closing other_epoch'];
    expect(rarest(...answers, ...raised, 'closed', 'open')).toBeGreaterThan(RUNS / 20);
  }, 60_000);
});

describe('a position', () => {
  const worker = fc.constantFrom('w1', 'w1', 'w2');
  const command = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('take' as const), worker }) },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('remember' as const),
        worker,
        position: fc.dictionary(fc.constantFrom('lsn', 'epoch', 'beats'), fc.string({ maxLength: 5 }), {
          minKeys: 1,
          noNullPrototype: true,
        }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('forget' as const), worker }) },
    { weight: 1, arbitrary: fc.constant({ do: 'lose' as const }) },
  );
  /** Each step waits for the one before: taking over is several commands. */
  const SEQUENCES = RUNS / 10;

  test(`moves as the model says, in ${SEQUENCES} sequences`, async () => {
    const connection = new CacheConnection({
      url,
      controlKey: keys.control,
      commandTimeoutMs: 2_000,
      observer: silentObserver,
    });
    await connection.open();
    const positions = new FeedPositions(connection, keys);
    try {
      await fc.assert(
        fc.asyncProperty(sequenceOf(command), async commands => {
          sequence += 1;
          const record = `kafka:${sequence}`;
          const model = new PositionModel();
          for (const one of commands) {
            if (one.do === 'take') {
              const expected = model.take(one.worker);
              count(expected ? 'taken' : 'nothing to take');
              expect(await positions.take(record, one.worker)).toEqual(expected);
            } else if (one.do === 'remember') {
              const expected = model.remember(one.worker, one.position);
              count(expected);
              expect(await positions.remember(record, one.position, one.worker)).toBe(
                expected === 'remembered',
              );
            } else if (one.do === 'forget') {
              model.forget(one.worker);
              await positions.forget(record, one.worker);
            } else {
              model.lose();
              await connection.call('DEL', keys.feed(record));
            }
            expect(await positions.read(record)).toEqual(model.fields());
          }
        }),
        { numRuns: SEQUENCES },
      );
      expect(rarest('taken', 'nothing to take', 'remembered', 'superseded')).toBeGreaterThan(SEQUENCES / 20);
    } finally {
      await connection.close();
    }
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
