import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isCalendarDate } from '../../shared/resources/calendar-date.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { DebeziumEnvelopes } from '../../workers/feed/debezium-envelope.ts';
import { quoteLongIntegers } from '../../workers/feed/debezium-json.ts';
import { printerOf } from '../../workers/feed/debezium-value.ts';
import type { Change, FeedItem } from '../../workers/feed/feed.ts';
import {
  eventJson,
  identityJson,
  type PrintedRow,
  recordOf,
  rowJson,
  UNCHANGED,
  valueJson,
} from '../support/debezium-encoder.ts';
import { column, shape } from '../support/shapes.ts';

const labels = ['sad', 'glad', '', 'a,b', '"q"'];
const columns = [
  column('constructor', 'text'),
  column('i8', 'int8', { notNull: true }),
  column('i4', 'int4'),
  column('i2', 'int2'),
  column('b', 'bool', { notNull: true }),
  column('u', 'uuid'),
  column('d', 'date'),
  column('t', 'text', { notNull: true }),
  column('v', 'varchar'),
  column('e', 'text', { typeOid: 99_999, type: 'mood', labels }),
  column('lsn', 'int8'),
  column('f', 'float8'),
  column('n', 'numeric'),
  column('tz', 'timestamptz'),
  column('j', 'jsonb'),
  column('moods', 'text[]', { labels }),
];
/** Neither keys nor tags are made of these. */
const leftOut = ['f', 'n', 'tz', 'j', 'moods'];
const kept = columns.map(({ name }) => name).filter(name => !leftOut.includes(name));
const key = ['v', 'i8', 'd', 'e', 'constructor'];

const wholeNumber = (bits: bigint): fc.Arbitrary<string> =>
  fc
    .oneof(
      fc.bigInt({ min: -(2n ** (bits - 1n)), max: 2n ** (bits - 1n) - 1n }),
      fc.bigInt({ min: -9n, max: 9n }),
      // Around 2^53, where doubles begin to skip.
      ...(bits === 64n
        ? [
            fc.bigInt({ min: -5n, max: 5n }).map(off => 2n ** 53n + off),
            fc.bigInt({ min: -5n, max: 5n }).map(off => off - 2n ** 53n),
          ]
        : []),
    )
    .map(String);
const text = fc
  .oneof(
    fc.string({ unit: 'binary', maxLength: 30 }).map(found => found.replaceAll('\0', '')),
    fc.constantFrom(
      '"',
      '\\',
      '\\"',
      '","id":9007199254740993,"',
      '12345678901234567890',
      'null',
      '\u2028',
      '😀',
    ),
    fc.json(),
  )
  .filter(found => found !== UNCHANGED);
const date = fc.oneof(
  fc.constantFrom('infinity', '-infinity', '4714-11-24 BC', '0001-12-31 BC', '0001-01-01', '5874897-12-31'),
  fc
    .tuple(
      fc.oneof(
        fc.integer({ min: -4_712, max: 5_874_897 }),
        fc.integer({ min: -5, max: 5 }),
        fc.integer({ min: 9_990, max: 10_010 }),
      ),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 31 }),
    )
    .map(([year, month, day]) => {
      const two = (number: number): string => String(number).padStart(2, '0');
      const printed = String(year < 1 ? 1 - year : year).padStart(4, '0');
      return `${printed}-${two(month)}-${two(day)}${year < 1 ? ' BC' : ''}`;
    })
    .filter(isCalendarDate),
);
const printed: Readonly<Record<string, fc.Arbitrary<string>>> = {
  constructor: text,
  i8: wholeNumber(64n),
  i4: wholeNumber(32n),
  i2: wholeNumber(16n),
  b: fc.constantFrom('t', 'f'),
  u: fc.uuid(),
  d: date,
  t: text,
  v: text,
  e: fc.constantFrom(...labels),
  lsn: wholeNumber(64n),
  f: fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  n: fc.constantFrom('1.10', '12345678901234567890'),
  tz: fc.constant('2024-01-31T08:00:00.123456Z'),
  j: fc.json(),
  moods: fc.constant('{sad,glad}'),
};
const row: fc.Arbitrary<PrintedRow> = fc.record(
  Object.fromEntries(
    columns.map(({ name, notNull }) => [
      name,
      key.includes(name) || notNull ? printed[name]! : fc.option(printed[name]!, { freq: 4 }),
    ]),
  ),
);

const table = (replicaIdentity: TableShape['replicaIdentity']): TableShape => ({
  ...shape('typed', columns, key),
  replicaIdentity,
});

function changeIn(served: TableShape, value: string): Change {
  const reader = new DebeziumEnvelopes({
    topic: 'freshet.changes',
    topicPrefix: 'freshet',
    tables: () => new Map([['typed', served]]),
    reference: () => 1_000n,
    namespace: 'here',
    now: () => 5,
    settledBefore: () => 0n,
    onStrayBeat: () => {},
  });
  const [item] = reader.read(recordOf(value)) as [FeedItem];
  if (item.kind !== 'change') throw item.kind === 'unreadable' ? item.error : new Error(item.kind);
  return item.change;
}

const only = (names: readonly string[], from: PrintedRow): PrintedRow =>
  Object.fromEntries(names.map(name => [name, from[name]!]));
const keyOf = (from: PrintedRow): string[] => key.map(name => from[name]!);

describe('any row', () => {
  test('is read as Postgres prints it', () => {
    const served = table('full');
    fc.assert(
      fc.property(row, row, (before, after) => {
        const change = changeIn(
          served,
          eventJson({
            op: 'u',
            table: served,
            before: identityJson(served, before),
            after: rowJson(columns, after),
          }),
        );
        expect(change.keyBefore).toEqual(keyOf(before));
        expect(change.keyAfter).toEqual(keyOf(after));
        expect(change.before).toEqual(only(kept, before));
        expect(change.after).toEqual(only(kept, after));
      }),
      { numRuns: 1_000 },
    );
  });

  test.each(['default', 'index'] as const)(
    'before a change says only its key under identity %s',
    identity => {
      const served = table(identity);
      fc.assert(
        fc.property(row, before => {
          const value = eventJson({ op: 'd', table: served, before: identityJson(served, before) });
          const change = changeIn(served, value);
          expect(change.keyBefore).toEqual(keyOf(before));
          expect(change.before).toEqual(only(key, before));
        }),
      );
    },
  );

  test('says nothing of texts that did not change out of line', () => {
    const served = table('default');
    fc.assert(
      fc.property(row, fc.subarray(['t', 'j', 'n']), (after, unchanged) => {
        const logged = Object.fromEntries(
          Object.entries(after).filter(([name]) => !unchanged.includes(name)),
        );
        const change = changeIn(
          served,
          eventJson({ op: 'u', table: served, after: rowJson(columns, logged) }),
        );
        expect(change.after).toEqual(
          only(
            kept.filter(name => !unchanged.includes(name)),
            after,
          ),
        );
      }),
    );
  });
});

describe('a value that no connector writes', () => {
  const wrong = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      '',
      '0',
      '042',
      '+5',
      '-0',
      '1e3',
      'true',
      '2024-02-30Z',
      '2024-1-1Z',
      '24-01-01Z',
      '+0000-01-01',
      '99999999-01-01Z',
      '2024-01-01T00:00:00Z',
    ),
  );
  const canonical: Readonly<Record<string, RegExp>> = {
    i8: /^(0|-?[1-9]\d*)$/,
    i4: /^(0|-?[1-9]\d*)$/,
    b: /^[tf]$/,
    d: /^(-?infinity|\d{4,7}-\d\d-\d\d( BC)?)$/,
  };

  test.each(Object.keys(canonical))('is never made into a text that Postgres would not print: %s', name => {
    const print = printerOf(columns.find(one => one.name === name)!)!;
    fc.assert(
      fc.property(wrong, value => {
        const found = print(value);
        if (found != null) expect(found).toMatch(canonical[name]!);
        if (name === 'd' && found != null) expect(isCalendarDate(found)).toBe(true);
        if (value === null) expect(found).toBeNull();
      }),
      { examples: [['2024-02-30Z'], ['0000-02-30Z'], ['-0']] },
    );
  });

  test.each(['u', 't', 'v', 'e', 'constructor'])('is unknown when it is no text: %s', name => {
    const print = printerOf(columns.find(one => one.name === name)!)!;
    for (const value of [1, true, [], {}, undefined]) expect(print(value)).toBeUndefined();
  });

  test.each(leftOut)('is left out, as all of its type: %s', name => {
    expect(printerOf(columns.find(one => one.name === name)!)).toBeNull();
  });
});

describe('long integers', () => {
  test('become strings of the same digits, and nothing else changes', () => {
    type Raw = { json: string; value: unknown };
    const long = fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(number => ({
      json: String(number),
      value: Number.isSafeInteger(Number(number)) ? Number(number) : String(number),
    }));
    const plain = fc
      .oneof(
        fc.string({ unit: 'binary' }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.boolean(),
        fc.constant(null),
        fc.constantFrom('9007199254740993', '":9007199254740993,"', '\\'),
      )
      .map(value => ({ json: JSON.stringify(value), value: JSON.parse(JSON.stringify(value)) as unknown }))
      .filter(({ json }) => !/^-?\d{16,}$/.test(json));
    const { tree } = fc.letrec<{ tree: Raw; list: Raw; object: Raw }>(tie => ({
      tree: fc.oneof({ maxDepth: 4 }, long, plain, tie('list'), tie('object')),
      list: fc.array(tie('tree'), { maxLength: 5 }).map(items => ({
        json: `[${items.map(({ json }) => json).join(',')}]`,
        value: items.map(({ value }) => value),
      })),
      object: fc
        .dictionary(fc.string({ unit: 'binary' }), tie('tree'), { maxKeys: 5, noNullPrototype: true })
        .map(members => ({
          json: `{${Object.entries(members)
            .map(([name, { json }]) => `${JSON.stringify(name)} : ${json}`)
            .join(' ,\n')}}`,
          value: Object.fromEntries(Object.entries(members).map(([name, { value }]) => [name, value])),
        })),
    }));
    fc.assert(
      fc.property(tree, ({ json, value }) => {
        expect(JSON.parse(quoteLongIntegers(json))).toEqual(value);
      }),
      { numRuns: 2_000 },
    );
  });

  test('within fractions and exponents stay numbers', () => {
    for (const json of [
      '1.23456789012345678901',
      '12345678901234567890.5',
      '12345678901234567890e5',
      '[1e-12345678901234567890]',
    ]) {
      expect(quoteLongIntegers(json)).toBe(json);
    }
  });
});

test('the model writes dates as the connector was seen to', () => {
  const day = columns.find(({ name }) => name === 'd')!;
  expect(
    [
      '2024-01-31',
      '0044-03-15 BC',
      '0001-01-01 BC',
      'infinity',
      '-infinity',
      '20000-01-01',
      '0099-01-01',
    ].map(one => valueJson(day, one)),
  ).toEqual([
    '"2024-01-31Z"',
    '"-0043-03-15Z"',
    '"0000-01-01Z"',
    '"+5877611-06-21Z"',
    '"-5877611-06-22Z"',
    '"+20000-01-01Z"',
    '"0099-01-01Z"',
  ]);
});
