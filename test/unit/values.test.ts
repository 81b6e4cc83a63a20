import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FreshetError } from '../../shared/errors.ts';
import { parseJsonExactly } from '../../shared/resources/json-exactly.ts';
import type { Column } from '../../shared/resources/resource.ts';
import { decodeValue, encodeRow, rowEncoder } from '../../shared/resources/values.ts';
import { column } from '../support/shapes.ts';

const jsonOf = (of: Column, text: string | null): string =>
  encodeRow([of], [text]).slice(`{"${of.name}":`.length, -1);

const thrown = (work: () => unknown): FreshetError => {
  try {
    work();
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('expected a FreshetError, nothing was thrown');
};

describe('a row as JSON', () => {
  test('has its keys in declared order and no whitespace', () => {
    const encode = rowEncoder([column('id', 'int4'), column('b "quoted"', 'text'), column('a', 'bool')]);
    expect(encode(['7', 'x', 't'])).toBe('{"id":7,"b \\"quoted\\"":"x","a":true}');
    expect(encode(['7', null, null])).toBe('{"id":7,"b \\"quoted\\"":null,"a":null}');
  });

  test('without columns is an empty object', () => {
    expect(encodeRow([], [])).toBe('{}');
  });

  test('refuses a row that has more or fewer values than columns', () => {
    expect(() => encodeRow([column('id', 'int4')], [])).toThrow('expected 1 values in a row, got 0');
    expect(() => encodeRow([column('id', 'int4')], ['1', '2'])).toThrow(RangeError);
  });

  test('is always JSON, whatever the text', () => {
    const encode = rowEncoder([column('a', 'text'), column('b', 'text[]')]);
    const literal = (items: readonly string[]): string =>
      `{${items.map(item => `"${item.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`;
    const anyText = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(anyText, fc.array(anyText), (text, items) => {
        expect(JSON.parse(encode([text, literal(items)]))).toEqual({ a: text, b: items });
      }),
    );
  });
});

describe('values', () => {
  test.each([
    ['int4', '-2147483648', '-2147483648'],
    ['oid', '4294967295', '4294967295'],
    ['int8', '9223372036854775807', '"9223372036854775807"'],
    ['numeric', '12345678901234567890.12345678901234567890', '"12345678901234567890.12345678901234567890"'],
    ['numeric', '1.50', '"1.50"'],
    ['numeric', 'NaN', '"NaN"'],
    ['float8', '0.1', '0.1'],
    ['float8', '1e+300', '1e+300'],
    ['float8', '-0', '-0'],
    ['float8', 'NaN', '"NaN"'],
    ['float4', 'Infinity', '"Infinity"'],
    ['float4', '-Infinity', '"-Infinity"'],
    ['bool', 't', 'true'],
    ['bool', 'f', 'false'],
    ['bool', 'true', 'true'],
    ['timestamptz', '2026-11-21 10:00:00+00', '"2026-11-21T10:00:00.000000Z"'],
    ['timestamptz', '2026-11-21 10:00:00.5+00', '"2026-11-21T10:00:00.500000Z"'],
    ['timestamptz', '2026-11-21 10:00:00.123456+00', '"2026-11-21T10:00:00.123456Z"'],
    ['timestamptz', '12026-11-21 10:00:00.1+00', '"12026-11-21T10:00:00.100000Z"'],
    ['timestamptz', 'infinity', '"infinity"'],
    ['timestamptz', '0044-03-15 00:00:00+00 BC', '"0044-03-15 00:00:00+00 BC"'],
    ['timestamp', '2026-11-21 10:00:00.25', '"2026-11-21T10:00:00.250000"'],
    ['timestamp', '-infinity', '"-infinity"'],
    ['timestamp', '0044-03-15 00:00:00 BC', '"0044-03-15 00:00:00 BC"'],
    ['date', '2026-11-21', '"2026-11-21"'],
    ['bytea', '\\x', '""'],
    ['bytea', '\\x00ff10', '"AP8Q"'],
    ['json', '{"a" : 12345678901234567890,\n "a":1.0}', '{"a" : 12345678901234567890,\n "a":1.0}'],
    ['jsonb', 'null', 'null'],
    ['text', 'a\nb"c\u2028', '"a\\nb\\"c\u2028"'],
    ['uuid', 'c0ffee00-0000-4000-8000-000000000000', '"c0ffee00-0000-4000-8000-000000000000"'],
  ] as const)('%s %s becomes %s', (type, text, json) => {
    expect(jsonOf(column('v', type), text)).toBe(json);
  });

  test.each([
    ['int4[]', '{}', '[]'],
    ['int4[]', '{1,NULL,-3}', '[1,null,-3]'],
    ['int4[]', '[0:2]={1,2,3}', '[1,2,3]'],
    ['int4[]', '[2:3][1:2]={{1,2},{3,4}}', '[[1,2],[3,4]]'],
    ['int8[]', '{9007199254740993}', '["9007199254740993"]'],
    ['bool[]', '{t,f,NULL}', '[true,false,null]'],
    [
      'text[]',
      '{"NULL",NULL,"","a,b","{c}","say \\"hi\\"","back\\\\slash",plain}',
      '["NULL",null,"","a,b","{c}","say \\"hi\\"","back\\\\slash","plain"]',
    ],
    ['text[]', '{"a\nb"," c "}', '["a\\nb"," c "]'],
    ['jsonb[]', '{"{\\"a\\": 12345678901234567890}",NULL,2}', '[{"a": 12345678901234567890},null,2]'],
    ['timestamptz[]', '{"2026-11-21 10:00:00+00"}', '["2026-11-21T10:00:00.000000Z"]'],
    ['bytea[]', '{"\\\\x00ff"}', '["AP8="]'],
    ['float8[]', '{NaN,1.5}', '["NaN",1.5]'],
  ] as const)('%s %s becomes %s', (type, text, json) => {
    expect(jsonOf(column('v', type), text)).toBe(json);
  });

  test('a time that was not printed in UTC is refused rather than shown an hour off', () => {
    const error = thrown(() => jsonOf(column('at', 'timestamptz'), '2026-11-21 10:00:00+01'));
    expect(error.code).toBe('session-settings');
    expect(error.message).toBe('column at: expected a time in UTC, got 2026-11-21 10:00:00+01');
  });

  test('an array of 100,000 quoted elements takes no longer than its length', () => {
    const encode = rowEncoder([column('v', 'text[]')]);
    const literal = (count: number): string => `{${Array.from({ length: count }, () => '"a b"').join(',')}}`;
    const took = (text: string): number => {
      const startedAt = performance.now();
      encode([text]);
      return performance.now() - startedAt;
    };
    const small = literal(5_000);
    const big = literal(100_000);
    const best = (text: string): number => Math.min(...Array.from({ length: 5 }, () => took(text)));
    // Twenty times the elements: a quadratic scan takes four hundred times as long.
    expect(best(big)).toBeLessThan(100 * best(small));
  });
});

describe('int8 and numeric declared as numbers', () => {
  const total = column('total', 'numeric', { kind: 'exact-number' });

  test.each([
    '0',
    '-7',
    '9007199254740991',
    '-9007199254740991',
    '0.1',
    '12.50',
    '0.00001',
    '0.000000123',
    '123456789.123456',
  ])('%s is embedded as it is', text => expect(jsonOf(total, text)).toBe(text));

  test.each([
    '9007199254740992',
    '-9007199254740993',
    '0.12345678901234567890',
    '9007199254740993.5',
    `0.${'0'.repeat(400)}1`,
    '9'.repeat(400),
  ])('%s is refused', text => {
    const error = thrown(() => jsonOf(total, text));
    expect(error.code).toBe('inexact-number');
    expect(error.message).toContain('column total');
    expect(error.hint).toContain('Remove "total"');
  });

  test('not-a-number is a string as with floats', () => {
    expect(jsonOf(total, 'NaN')).toBe('"NaN"');
    expect(jsonOf(total, 'Infinity')).toBe('"Infinity"');
  });

  test('arrays of them are checked element by element', () => {
    const totals = column('totals', 'int8[]', { elementKind: 'exact-number' });
    expect(jsonOf(totals, '{1,NULL,2}')).toBe('[1,null,2]');
    expect(thrown(() => jsonOf(totals, '{1,9007199254740993}')).code).toBe('inexact-number');
  });

  test('whatever is let through is the same number after a JSON parser', () => {
    const scaled = (digits: bigint, scale: number): string => {
      const all = String(digits < 0n ? -digits : digits).padStart(scale + 1, '0');
      const sign = digits < 0n ? '-' : '';
      return `${sign}${all.slice(0, all.length - scale)}${scale > 0 ? `.${all.slice(all.length - scale)}` : ''}`;
    };
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), fc.nat(25), (digits, scale) => {
        const text = scaled(digits, scale);
        let json: string;
        try {
          json = jsonOf(total, text);
        } catch {
          // Fifteen significant digits always fit a double.
          const significant = String(digits).replace(/^-/, '').replace(/0+$/, '').length;
          expect(significant > 15 || Math.abs(Number(text)) > Number.MAX_SAFE_INTEGER).toBe(true);
          return;
        }
        const back = JSON.parse(json) as number;
        // The shortest text of the double, written out, is the number that came.
        const [mantissa, exponent] = back.toExponential().split('e');
        const [whole, fraction = ''] = mantissa!.split('.');
        const value = { digits: BigInt(whole! + fraction), power: Number(exponent) - fraction.length };
        const wanted = { digits, power: -scale };
        const least = Math.min(value.power, wanted.power);
        const widen = ({ digits, power }: typeof value): bigint => digits * 10n ** BigInt(power - least);
        expect(widen(value)).toBe(widen(wanted));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('a value of a request', () => {
  test.each([
    ['int4', 42, '42'],
    ['int4', -2147483648, '-2147483648'],
    ['oid', 4294967295, '4294967295'],
    ['int8', '9223372036854775807', '9223372036854775807'],
    ['int8', 42, '42'],
    ['numeric', '12.50', '12.50'],
    ['numeric', 12.5, '12.5'],
    ['numeric', 1e21, '1e+21'],
    ['numeric', 'NaN', 'NaN'],
    ['float8', 1e300, '1e+300'],
    ['float8', -0, '-0'],
    ['float8', 'Infinity', 'Infinity'],
    ['bool', false, 'false'],
    ['text', '', ''],
    ['text', '{}', '{}'],
    ['timestamptz', '2026-11-21T10:00:00Z', '2026-11-21T10:00:00Z'],
    ['timestamptz', '2026-11-21T10:00:00.5+05:30', '2026-11-21T10:00:00.5+05:30'],
    ['timestamptz', '0044-03-15 00:00:00+00 BC', '0044-03-15 00:00:00+00 BC'],
    ['timestamp', '2026-11-21T10:00:00.123456', '2026-11-21T10:00:00.123456'],
    ['timestamp', 'infinity', 'infinity'],
    ['date', '2026-11-21', '2026-11-21'],
    ['bytea', 'AP8Q', '\\x00ff10'],
    ['bytea', '', '\\x'],
    ['json', { a: [1, null] }, '{"a":[1,null]}'],
    ['jsonb', 'text', '"text"'],
    ['jsonb', false, 'false'],
    ['int4[]', [1, null, 3], '{"1",NULL,"3"}'],
    ['int4[]', [[1], [2]], '{{"1"},{"2"}}'],
    ['text[]', ['NULL', 'a"b\\c', ''], '{"NULL","a\\"b\\\\c",""}'],
    ['jsonb[]', [[1, 2], { a: 'x"' }, null], '{"[1,2]","{\\"a\\":\\"x\\\\\\"\\"}",NULL}'],
    ['text[]', [], '{}'],
  ] as const)('for %s, %j becomes %s', (type, json, text) => {
    expect(decodeValue(column('v', type), json)).toBe(text);
    expect(decodeValue(column('v', type), null)).toBeNull();
  });

  test.each([
    ['int4', '42'],
    ['int4', 4.2],
    ['int4', 2147483648],
    ['int2', 32768],
    ['oid', -1],
    ['int4', true],
    ['int8', 9007199254740992],
    ['int8', '9223372036854775808'],
    ['int8', '1e3'],
    ['int8', ''],
    ['numeric', '0x10'],
    ['numeric', ' 1'],
    ['float8', '1.5'],
    ['bool', 't'],
    ['bool', 0],
    ['text', 5],
    ['text', ['a']],
    ['text', 'a\0b'],
    ['text', '\ud800'],
    ['timestamptz', 'now'],
    ['timestamptz', '2026-11-21T10:00:00'],
    ['timestamptz', '2026-11-21'],
    ['timestamptz', 1_700_000_000],
    ['timestamp', '2026-11-21T10:00:00Z'],
    ['timestamp', '2026-11-21T10:00:00+05:30'],
    ['timestamp', '2026-11-21T10:00:00.1234567'],
    ['date', 'today'],
    ['date', '2026-02-30'],
    ['bytea', 'AP8'],
    ['bytea', '\\x00'],
    ['int4[]', '{1,2}'],
    ['int4[]', [1, 'x']],
    ['text[]', [{ a: 1 }]],
    ['text', undefined],
  ] as const)('for %s, %j is refused', (type, json) => {
    const error = thrown(() => decodeValue(column('price', type), json));
    expect(error.code).toBe('bad-value');
    expect(error.message).toMatch(/^column price: expected .+, got /);
  });

  test('an enum takes its labels and names them', () => {
    const mood = column('mood', 'text', { typeOid: 99_999, labels: ['sad', 'ok'] });
    expect(decodeValue(mood, 'ok')).toBe('ok');
    expect(thrown(() => decodeValue(mood, 'OK')).message).toBe(
      'column mood: expected one of "sad", "ok", got "OK"',
    );
  });

  test('a long value is cut in the message', () => {
    expect(thrown(() => decodeValue(column('n', 'int4'), 'x'.repeat(10_000))).message.length).toBeLessThan(
      200,
    );
  });
});

describe('numbers of a request body', () => {
  test('keep every digit on their way into numeric, int8 and json columns', () => {
    const body = parseJsonExactly(
      '{"n": 12345678901234567890.10, "i": 9223372036854775807, "j": {"deep": [1.50, 12345678901234567890, -0, 1e400, 7]}}',
    ) as Record<string, unknown>;
    expect(decodeValue(column('n', 'numeric'), body.n)).toBe('12345678901234567890.10');
    expect(decodeValue(column('i', 'int8'), body.i)).toBe('9223372036854775807');
    expect(decodeValue(column('j', 'json'), body.j)).toBe('{"deep":[1.50,12345678901234567890,-0,1e400,7]}');
  });

  test('are plain numbers where a double prints them the same', () => {
    expect(parseJsonExactly('{"a": 1, "b": 0.5, "c": [true, null, "1.50"]}')).toEqual({
      a: 1,
      b: 0.5,
      c: [true, null, '1.50'],
    });
  });

  test('are still checked against their column', () => {
    const [float, int] = parseJsonExactly('[1e400, 1.0]') as unknown[];
    expect(thrown(() => decodeValue(column('f', 'float8'), float)).message).toContain('got 1e400');
    expect(thrown(() => decodeValue(column('i', 'int4'), int)).message).toContain('got 1.0');
  });

  test('every JSON value is read as JSON.parse reads it, numbers aside', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        const text = JSON.stringify(value);
        expect(JSON.stringify(parseJsonExactly(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  test.each(['', '{', '{"a":}', '[1,]', `${'['.repeat(300_000)}${']'.repeat(300_000)}`])(
    'what is not JSON is an error that says so (%#)',
    text => {
      expect(thrown(() => parseJsonExactly(text)).code).toBe('bad-json');
    },
  );
});
