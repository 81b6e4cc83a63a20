import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pLimit from 'p-limit';
import type { Freshness } from '../../api/read/freshness.ts';
import { Guard, type Verdict } from '../../api/read/guard.ts';
import type { Clock } from '../../shared/clock.ts';
import type { Filler } from '../../shared/fill/lease-and-fill.ts';
import { slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import type { Entry } from '../../shared/protocol/entry.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { eventually } from '../support/eventually.ts';
import { openReading, type Reading } from '../support/reading.ts';
import { openWorld, type World } from '../support/world.ts';

const MAX_STALENESS_MS = 1_000;
const AT_ONCE = 2;
const MOST_WAITING = 600;
const ROWS = 510;

const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
const config = defineConfig({
  resources: {
    places: table('places', cold),
    streets: table('streets', cold),
    words: table('words', cold),
  },
});

let world: World;
let reading: Reading;
let filler: Filler;
let places: Resource;

/** Nobody listens to the database here: the worker only opens the cache, and is gone before the first test. */
beforeAll(async () => {
  world = await openWorld({
    schema: `create type mood as enum ('calm', 'loud');
             create table places (id int primary key, name text, mood mood not null default 'calm');
             create table streets (id uuid primary key, name text);
             create table words (lang text, word varchar(8), meaning text, primary key (lang, word));
             insert into places select n, 'place ' || n from generate_series(1, ${ROWS}) n;
             insert into streets values ('00000000-0000-4000-8000-000000000001', 'high');`,
    config,
  });
  const worker = await world.worker();
  await worker.stop();
  reading = await openReading(world, config);
  filler = reading.filler();
  places = reading.resource('places');
});
afterAll(async () => {
  await reading?.close();
  await world?.close();
});

class HandClock implements Clock {
  nowMs = 50_000;
  monotonicMs = (): number => this.nowMs;
  wallMs = (): number => this.nowMs;
}

let clock: HandClock;
let freshness: { term: number; maxStalenessMs: number };
let guard: Guard;

beforeEach(() => {
  clock = new HandClock();
  freshness = { term: 0, maxStalenessMs: MAX_STALENESS_MS };
  guard = new Guard({
    pool: reading.sessions.pool,
    clock,
    freshness: freshness as Freshness,
    limit: pLimit(AT_ONCE),
    mostWaiting: MOST_WAITING,
  });
});

/** Reads the row into the cache where it is not there, and gives the entry. */
async function entryOf(resource: Resource, ...key: string[]): Promise<Entry> {
  await filler.fill(resource, key);
  return (await reading.servable(resource, key))!;
}

/** The entry of the row as it is now, whatever was cached of it. */
async function freshEntryOf(resource: Resource, ...key: string[]): Promise<Entry> {
  await world.store.deleteRecord(slotOfRow(resource, key).tag);
  return entryOf(resource, ...key);
}

const check = (entry: Entry, ...key: string[]): Promise<Verdict> => guard.check(places.table, key, entry);
const change = (sql: string): Promise<unknown> => world.database.query(sql);

/** Statements that `work` sent to the database. */
async function statementsDuring(work: () => Promise<unknown>): Promise<number> {
  const before = reading.sessions.statements.length;
  await work();
  return reading.sessions.statements.length - before;
}

describe('what a check says', () => {
  test('a row that is as it was cached is proven', async () => {
    expect(await check(await freshEntryOf(places, '1'), '1')).toBe('proven');
  });

  test('a row that was changed, or deleted, is disproved', async () => {
    const [changed, deleted] = [await freshEntryOf(places, '2'), await freshEntryOf(places, '3')];
    await change(`update places set name = name where id = 2`);
    await change('delete from places where id = 3');
    expect(await Promise.all([check(changed, '2'), check(deleted, '3')])).toEqual(['disproved', 'disproved']);
  });

  test('"no such row" is proven until there is one', async () => {
    const absent = await freshEntryOf(places, '9001');
    expect(absent.meta.found).toBe(false);
    expect(await check(absent, '9001')).toBe('proven');
    await change('insert into places values (9001)');
    expect(await check(absent, '9001')).toBe('disproved');
  });

  test('an unchanged row under a changed definition is disproved', async () => {
    const entry = await freshEntryOf(places, '4');
    await change(`alter type mood rename value 'calm' to 'quiet'`);
    expect(await check(entry, '4')).toBe('disproved');
    await change(`alter type mood rename value 'quiet' to 'calm'`);
    // There and back is another definition than the one it was cached under: nobody knows what was in between.
    expect(await check(entry, '4')).toBe('disproved');
    await openAgain();
  });

  test('an unchanged row in a table that is not followed any more is disproved', async () => {
    const entry = await freshEntryOf(places, '4');
    await change('drop publication freshet');
    expect(await check(entry, '4')).toBe('disproved');
    await change('create publication freshet for all tables with (publish_via_partition_root = true)');
    await openAgain();
  });

  test('an unchanged row in another life of the database is disproved', async () => {
    const entry = await freshEntryOf(places, '5');
    const { rows } = await world.database.query('select incarnation from freshet.alive');
    await change('update freshet.alive set incarnation = gen_random_uuid()');
    expect(await check(entry, '5')).toBe('disproved');
    await change('delete from freshet.alive');
    expect(await check(entry, '5')).toBe('disproved');
    await world.database.query('insert into freshet.alive (incarnation) values ($1)', [
      (rows[0] as { incarnation: string }).incarnation,
    ]);
    expect(await check(entry, '5')).toBe('proven');
  });

  test('keys of any text, and of several columns, find their rows', async () => {
    const words = reading.resource('words');
    const keys = [
      ['NULL', ''],
      ['a,b', '{"x"}'],
      ["it's", '\\'],
      ['é', 'ø 日本'],
      ['', 'NULL'],
    ] as const;
    for (const [lang, word] of keys)
      await world.database.query('insert into words values ($1, $2)', [lang, word]);
    const entries = await Promise.all(keys.map(key => freshEntryOf(words, ...key)));
    await world.database.query(`update words set meaning = 'x' where lang = 'a,b'`);
    const verdicts = keys.map((key, i) => guard.check(words.table, key, entries[i]!));
    expect(await Promise.all(verdicts)).toEqual(['proven', 'disproved', 'proven', 'proven', 'proven']);
  });

  /** A worker that starts puts the definitions of now into `control`. */
  async function openAgain(): Promise<void> {
    const worker = await world.worker();
    await eventually(
      'the table may be cached again',
      async () => (await world.store.control())?.tables.get('places')?.digest,
      digest => digest != null,
    );
    await worker.stop();
    expect(await check(await freshEntryOf(places, '4'), '4')).toBe('proven');
  }
});

describe('what a check proves', () => {
  test('is this entry, never its key: another fill of the same row is asked about again', async () => {
    const first = await freshEntryOf(places, '10');
    await check(first, '10');
    expect(guard.covers(first, clock.nowMs)).toBe(true);
    const second = await freshEntryOf(places, '10');
    expect(second.body).toEqual(first.body);
    expect(guard.covers(second, clock.nowMs)).toBe(false);
  });

  test('ends a bound after the statement was sent', async () => {
    const entry = await freshEntryOf(places, '11');
    const held = reading.sessions.holdNext();
    const verdict = check(entry, '11');
    await held.answered;
    clock.nowMs += 400;
    held.release();
    expect(await verdict).toBe('proven');
    expect(guard.covers(entry, 50_000 + MAX_STALENESS_MS - 1)).toBe(true);
    expect(guard.covers(entry, 50_000 + MAX_STALENESS_MS)).toBe(false);
  });

  test('is nothing when the answer comes later than that', async () => {
    const entry = await freshEntryOf(places, '12');
    const held = reading.sessions.holdNext();
    const verdict = check(entry, '12');
    await held.answered;
    clock.nowMs += MAX_STALENESS_MS;
    held.release();
    expect(await verdict).toBe('disproved');
    expect(guard.covers(entry, 50_000)).toBe(false);
  });

  test('is void with the connection to the cache, also while it is being asked for', async () => {
    const [known, asked] = [await freshEntryOf(places, '13'), await freshEntryOf(places, '14')];
    await check(known, '13');
    const held = reading.sessions.holdNext();
    const verdict = check(asked, '14');
    await held.answered;
    freshness.term += 1;
    expect(guard.covers(known, clock.nowMs)).toBe(false);
    held.release();
    expect(await verdict).toBe('disproved');
    expect(guard.covers(asked, clock.nowMs)).toBe(false);
  });

  test('is not less for who was disproved: nothing is remembered then', async () => {
    const entry = await freshEntryOf(places, '15');
    await change(`update places set name = 'new' where id = 15`);
    expect(await check(entry, '15')).toBe('disproved');
    expect(guard.covers(entry, clock.nowMs)).toBe(false);
  });
});

describe('what checks cost', () => {
  test('one statement for an entry, however many ask', async () => {
    const entry = await freshEntryOf(places, '20');
    const sent = await statementsDuring(async () => {
      const verdicts = await Promise.all(Array.from({ length: 200 }, () => check(entry, '20')));
      expect(new Set(verdicts)).toEqual(new Set(['proven']));
    });
    expect(sent).toBe(1);
  });

  test('one statement for the rows of a table, one for those of another', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => String(30 + i));
    const entries = await Promise.all(keys.map(key => freshEntryOf(places, key)));
    const streets = reading.resource('streets');
    const street = '00000000-0000-4000-8000-000000000001';
    const high = await freshEntryOf(streets, street);
    const sent = await statementsDuring(() =>
      Promise.all([
        ...keys.map((key, i) => check(entries[i]!, key)),
        guard.check(streets.table, [street], high),
      ]),
    );
    expect(sent).toBe(2);
  });

  test('who asks while a statement is under way is not given its answer, but the next one', async () => {
    const entry = await freshEntryOf(places, '21');
    const held = reading.sessions.holdNext();
    const first = check(entry, '21');
    await held.answered;
    await change(`update places set name = 'new' where id = 21`);
    const second = await check(entry, '21');
    held.release();
    expect([await first, second]).toEqual(['proven', 'disproved']);
  });

  test(`at most 500 rows a statement, ${AT_ONCE} statements at once, and a bound of those who wait`, async () => {
    const ids = Array.from({ length: ROWS }, (_, i) => String(i + 1));
    const all = await Promise.all(ids.map(key => entryOf(places, key)));
    const [one, two] = [reading.sessions.holdNext(), reading.sessions.holdNext()];
    const before = reading.sessions.statements.length;

    const early = [check(all[0]!, '1')];
    await one.answered;
    early.push(check(all[1]!, '2'));
    await two.answered;
    const late = ids.map((key, i) => check(all[i]!, key));
    await new Promise(setImmediate);
    expect(reading.sessions.statements.length - before).toBe(AT_ONCE);

    // All room but 88 is taken: 2 are asked about, 510 wait.
    const room = MOST_WAITING - early.length - late.length;
    const more = Array.from({ length: room }, (_, i) => check(withFillId(all[0]!, `more ${i}`), '1'));
    const refusal = check(withFillId(all[0]!, 'one too many'), '1').catch((error: unknown) => error);
    expect(await refusal).toMatchObject({ code: 'overloaded', retryable: true });
    // Who asks about an entry that waits already takes no room.
    const shared = check(all[ROWS - 1]!, String(ROWS));

    one.release();
    two.release();
    const verdicts = await Promise.all([...early, ...late, ...more, shared]);
    expect(verdicts.filter(verdict => verdict === 'proven').length).toBeGreaterThan(ROWS);
    expect(reading.sessions.statements.length - before).toBe(AT_ONCE + 2);
    // And there is room again.
    expect(await check(withFillId(all[0]!, 'one more'), '1')).toBe('proven');
  });

  test('a statement that failed fails those who wait for it, and leaves no room taken', async () => {
    const entry = await freshEntryOf(places, '22');
    await change('alter table places rename to elsewhere');
    for (let round = 0; round < 3; round += 1) {
      const asked = Array.from({ length: MOST_WAITING }, (_, i) =>
        check(withFillId(entry, `${round} ${i}`), '22').catch((error: unknown) => error),
      );
      for (const error of await Promise.all(asked))
        expect(error).toMatchObject({ code: 'database-error', message: expect.stringContaining('places') });
    }
    await change('alter table elsewhere rename to places');
  });
});

/** What another fill of the same row would have been. */
const withFillId = ({ meta, body }: Entry, fillId: string): Entry => ({ meta: { ...meta, fillId }, body });
