import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isKeyType, KEY_BYTES_LIMIT, parsePathKey } from '../../shared/resources/canonical-key.ts';
import { parseRowTag, rowPath, rowTag } from '../../shared/resources/keys.ts';
import type { Column } from '../../shared/resources/resource.ts';
import { column, shape } from '../support/shapes.ts';

const keyedBy = (...key: Column[]) =>
  shape(
    'things',
    key,
    key.map(({ name }) => name),
  );
const parse = (type: Parameters<typeof column>[1], segment: string, rest: Partial<Column> = {}) =>
  parsePathKey(keyedBy(column('id', type, rest)), segment);

describe('a path key', () => {
  test.each([
    ['int2', '-32768'],
    ['int4', '0'],
    ['int4', '2147483647'],
    ['int8', '-9223372036854775808'],
    ['uuid', 'c0ffee00-0000-4000-8000-000000000000'],
    ['date', '2024-02-29'],
    ['date', '2000-02-29'],
    ['date', '0001-01-01'],
    ['date', '12026-01-31'],
    ['date', '5874897-12-31'],
    ['date', 'infinity'],
    ['text', 'a,b'],
    ['text', ''],
    ['varchar', '-~.'],
  ] as const)('of type %s: %s is what Postgres prints', (type, segment) => {
    expect(parse(type, segment)).toEqual([segment]);
  });

  test.each([
    ['int4', '042'],
    ['int4', '+42'],
    ['int4', '-0'],
    ['int4', '4 2'],
    ['int4', '%2042'],
    ['int4', '1.0'],
    ['int4', '1e3'],
    ['int4', '0x2A'],
    ['int4', '1_000'],
    ['int4', ''],
    ['int4', '2147483648'],
    ['int2', '-32769'],
    ['int8', '9223372036854775808'],
    ['int8', '9'.repeat(400)],
    ['int4', '٤٢'],
    ['uuid', 'C0FFEE00-0000-4000-8000-000000000000'],
    ['uuid', '{c0ffee00-0000-4000-8000-000000000000}'],
    ['uuid', 'c0ffee0000004000800000000000000'],
    ['date', '2023-02-29'],
    ['date', '1900-02-29'],
    ['date', '2026-11-31'],
    ['date', '2026-13-01'],
    ['date', '0000-01-01'],
    ['date', '2026-1-1'],
    ['date', '02026-01-01'],
    ['date', '5874898-01-01'],
    ['date', '4714-11-23%20BC'],
    ['date', 'Infinity'],
    ['text', 'a%00b'],
    ['text', '%'],
    ['text', '%zz'],
    ['text', '%ff'],
    ['text', '%ed%a0%80'],
    ['text', 'é'],
  ] as const)('of type %s: %s is no key', (type, segment) => {
    expect(parse(type, segment)).toBeNull();
  });

  test('of a date before the year 1 carries its era', () => {
    expect(parse('date', '4714-11-24%20BC')).toEqual(['4714-11-24 BC']);
    expect(parse('date', '0001-02-29%20BC')).toEqual(['0001-02-29 BC']);
    expect(parse('date', '0002-02-29%20BC')).toBeNull();
  });

  test('of an enum is one of its labels', () => {
    const labels = ['sad', 'very happy'];
    expect(parse('text', 'very%20happy', { typeOid: 99_999, labels })).toEqual(['very happy']);
    expect(parse('text', 'Sad', { typeOid: 99_999, labels })).toBeNull();
  });

  test('of varchar(n) is no longer than n characters, however many bytes or units they are', () => {
    expect(parse('varchar', encodeURIComponent('😀😀😀'), { maxLength: 3 })).toEqual(['😀😀😀']);
    expect(parse('varchar', 'abcd', { maxLength: 3 })).toBeNull();
  });

  test('is bounded', () => {
    expect(parse('text', 'a'.repeat(KEY_BYTES_LIMIT))).not.toBeNull();
    expect(parse('text', 'a'.repeat(KEY_BYTES_LIMIT + 1))).toBeNull();
    const half = 'a'.repeat(KEY_BYTES_LIMIT / 2);
    const two = keyedBy(column('a', 'text'), column('b', 'text'));
    expect(parsePathKey(two, `${half},${half}`)).not.toBeNull();
    expect(parsePathKey(two, `${half},${half}a`)).toBeNull();
  });

  test('of several columns has as many parts, in the order of the key', () => {
    const table = keyedBy(column('team', 'text'), column('user', 'int4'));
    expect(parsePathKey(table, 'a%2Cb,7')).toEqual(['a,b', '7']);
    expect(parsePathKey(table, ',7')).toEqual(['', '7']);
    for (const segment of ['a', 'a,b,7', '7,a', 'a,7,', 'a%2C7'])
      expect(parsePathKey(table, segment)).toBeNull();
  });

  test('spelled with needless escapes is the same key, hence the same record', () => {
    expect(parse('text', '%61%62')).toEqual(['ab']);
    expect(parse('int4', '%34%32')).toEqual(['42']);
    expect(rowTag('things', parse('text', '%61%62')!)).toBe(rowTag('things', parse('text', 'ab')!));
  });

  test('of a type whose equal values can be printed differently is never accepted', () => {
    for (const type of ['numeric', 'float8', 'timestamptz', 'bool', 'jsonb', 'text[]'] as const) {
      expect(isKeyType(column('id', type))).toBe(false);
      expect(parse(type, '1')).toBeNull();
    }
    expect(parse('text', 'a', { nondeterministic: true })).toBeNull();
  });
});

describe('paths and tags of keys', () => {
  const text = fc
    .string({ unit: 'grapheme', maxLength: 20 })
    .filter(value => !value.includes('\0') && value.isWellFormed());
  const key = fc.tuple(text, text);
  const table = keyedBy(column('a', 'text'), column('b', 'text'));

  test('a key survives its path and its tag', () => {
    fc.assert(
      fc.property(key, parts => {
        expect(parsePathKey(table, rowPath(parts))).toEqual(parts);
        expect(parseRowTag(rowTag('things', parts))).toEqual({ table: 'things', key: parts });
      }),
      { numRuns: 1_000 },
    );
  });

  test('two keys have one tag only when they are equal', () => {
    const spiteful = fc.string({
      unit: fc.constantFrom(',', '%', '2', 'C', ':', '.', 'a', '}', '{', ' '),
      maxLength: 6,
    });
    fc.assert(
      fc.property(fc.tuple(spiteful, spiteful), fc.tuple(spiteful, spiteful), (one, other) => {
        const same = one[0] === other[0] && one[1] === other[1];
        expect(rowTag('things', one) === rowTag('things', other)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  test('no segment is read as a key that its own path does not lead back to', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'a,%2C5é/0 -+') }), segment => {
        const parsed = parsePathKey(table, segment);
        if (parsed) expect(parsePathKey(table, rowPath(parsed))).toEqual(parsed);
      }),
      { numRuns: 2_000 },
    );
  });
});
