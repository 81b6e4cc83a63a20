import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import pg from 'pg';
import { isCalendarDate } from '../../shared/resources/calendar-date.ts';
import type { FeedItem } from '../../workers/feed/feed.ts';
import { type BothFeeds, openBothFeeds } from '../support/both-feeds.ts';
import { changesOf, decodeRecords, halved, type RecordedChange } from '../support/envelope-recording.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';

const labels = ['sad', 'glad', '', 'a,b', '"q"', 'ünï'];
const between = (least: bigint, most: bigint): fc.Arbitrary<string> =>
  fc.oneof(fc.bigInt({ min: least, max: most }), fc.constantFrom(least, most, 0n, -1n)).map(String);
const text = fc.string({ unit: 'binary', maxLength: 40 }).map(found => found.replaceAll('\0', ''));
const date = fc.oneof(
  fc.constantFrom('infinity', '-infinity', '4714-11-24 BC', '0001-12-31 BC', '0001-01-01', '5874897-12-31'),
  fc
    .tuple(
      fc.oneof(fc.integer({ min: -4_712, max: 5_874_897 }), fc.integer({ min: -3, max: 3 })),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 31 }),
    )
    .map(([year, ...rest]) => {
      const printed = String(year < 1 ? 1 - year : year).padStart(4, '0');
      return `${[printed, ...rest.map(part => String(part).padStart(2, '0'))].join('-')}${year < 1 ? ' BC' : ''}`;
    })
    .filter(isCalendarDate),
);

/** The types of keys and tags, each with values of it. */
const types: readonly (readonly [type: string, values: fc.Arbitrary<string>])[] = [
  ['smallint', between(-32_768n, 32_767n)],
  ['integer', between(-(2n ** 31n), 2n ** 31n - 1n)],
  ['bigint', fc.oneof(between(-(2n ** 63n), 2n ** 63n - 1n), between(2n ** 53n - 3n, 2n ** 53n + 3n))],
  ['uuid', fc.uuid()],
  ['date', date],
  ['mood', fc.constantFrom(...labels)],
  ['text', text],
  ['varchar(60)', text],
  ['boolean', fc.constantFrom('t', 'f')],
  ['glum', fc.constantFrom(...labels)],
  ['birthday', date],
  ['tall', fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(String)],
  ['short', text],
];
const names = types.map(([type], i) => `${type.replace(/\W.*/, '')}_${i}`);
/** What a primary key may be of. */
const keyable = types.flatMap(([type], i) => (type === 'boolean' ? [] : [i]));

const SCHEMA = `
  create type mood as enum (${labels.map(label => pg.escapeLiteral(label)).join(', ')});
  create domain glum as mood;
  create domain birthday as date;
  create domain tall as bigint check (value > 0);
  create domain short as varchar(60);
  ${keyable.map(i => `create table by_${names[i]} (key ${types[i]![0]} primary key, note text);`).join('\n')}
  create table plain (id bigint primary key, ${types.map(([type], i) => `${names[i]} ${type}`).join(', ')});
  create table full_identity (like plain including all);
  alter table full_identity replica identity full;
  create table composite (
    ${types.map(([type], i) => `${names[i]} ${type}`).join(', ')}, primary key (${keyable.map(i => names[i]).join(', ')})
  );
`;

const ROWS = 40;
const PARTITIONS = 4;
const literal = (value: string | null): string => (value === null ? 'null' : pg.escapeLiteral(value));
const row = (nullable: boolean): fc.Arbitrary<(string | null)[]> =>
  fc.tuple(...types.map(([, values]) => (nullable ? fc.option(values, { freq: 5 }) : values)));

/** In an order that both feeds can be brought into: four partitions have none in common. */
const sorted = (changes: readonly RecordedChange[]): RecordedChange[] => {
  const place = ({ xid, lsn, op, keyBefore, keyAfter }: RecordedChange): string =>
    JSON.stringify([xid, lsn, op, keyBefore, keyAfter]);
  return changes.toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
};

describe('what keys and tags are made of', () => {
  let feeds: BothFeeds;
  const seed = Math.floor(Math.random() * 2 ** 31);
  beforeAll(async () => {
    feeds = await openBothFeeds(SCHEMA, PARTITIONS);
  }, kafkaStartLimitMs);
  afterAll(() => feeds?.close());

  /** Both feeds brought the same; returns what Debezium's was decoded to. */
  async function agree(statements: readonly string[]): Promise<FeedItem[]> {
    const { items, records } = await feeds.run(statements);
    const decoded = decodeRecords(feeds, records);
    const expected = sorted(halved(changesOf(items), feeds.tables));
    expect({ seed, changes: sorted(halved(changesOf(decoded), feeds.tables)) }).toEqual({
      seed,
      changes: expected,
    });
    expect(expected.length).toBeGreaterThan(0);
    return decoded;
  }

  test.each(keyable.map(i => ({ type: types[i]![0], i })))(
    'is the same text over both feeds in a key of $type',
    async ({ i }) => {
      const [, values] = types[i]!;
      const few = types[i]![0] === 'mood' || types[i]![0] === 'glum';
      const distinct = fc.uniqueArray(values, few ? { minLength: 2 } : { minLength: ROWS, maxLength: ROWS });
      const [keys] = fc.sample(distinct, { numRuns: 1, seed });
      const table = `by_${names[i]}`;
      const [last, ...rest] = keys!.toReversed();
      const decoded = await agree([
        `insert into ${table} values ${rest.map(key => `(${literal(key)}, 'n')`).join(', ')}`,
        `update ${table} set note = key`,
        `update ${table} set key = ${literal(last!)} where key::text = ${literal(rest[0]!)}`,
        `delete from ${table}`,
      ]);
      expect(decoded.every(({ kind }) => kind === 'change')).toBe(true);
    },
  );

  test.each(['plain', 'full_identity'])(
    'is the same text over both feeds in rows of a table: %s',
    async table => {
      const rows = fc.sample(row(true), { numRuns: ROWS, seed });
      const sets = fc.sample(row(true), { numRuns: ROWS, seed: seed + 1 });
      await agree([
        ...rows.map((values, id) => `insert into ${table} values (${id}, ${values.map(literal).join(', ')})`),
        ...sets.map(
          (values, id) =>
            `update ${table} set ${values.map((value, i) => `${names[i]} = ${literal(value)}`).join(', ')} where id = ${id}`,
        ),
        `delete from ${table}`,
      ]);
    },
  );

  test('is the same text over both feeds in a key of many columns, whose changes land in two partitions', async () => {
    const rows = fc.sample(row(false), { numRuns: ROWS, seed });
    const decoded = await agree([
      ...rows.map(values => `insert into composite values (${values.map(literal).join(', ')})`),
      `update composite set integer_1 = case when integer_1 > 0 then integer_1 - 1 else integer_1 + 1 end`,
      `delete from composite`,
    ]);
    const landed = Map.groupBy(
      decoded.flatMap(item => (item.kind === 'change' ? [item] : [])),
      ({ change }) => `${change.xid} ${change.lsn}`,
    );
    const apart = [...landed.values()].filter(
      halves => new Set(halves.map(({ partition }) => partition)).size > 1,
    );
    expect(apart.length).toBeGreaterThan(ROWS / 4);
    expect(
      apart.every(
        halves =>
          halves
            .map(({ change }) => change.op)
            .toSorted()
            .join() === 'delete,insert',
      ),
    ).toBe(true);
  });
});
