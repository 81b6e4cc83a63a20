import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type EntityTag,
  matchesStrongly,
  matchesWeakly,
  parseTag,
  parseTagList,
  serializeTag,
} from '../../api/http/entity-tag.ts';

const strong = (opaque: string): EntityTag => ({ weak: false, opaque });
const weak = (opaque: string): EntityTag => ({ weak: true, opaque });

/** %x21 / %x23-7E / obs-text */
const etagc = fc.integer({ min: 0x21, max: 0xff }).filter(code => code !== 0x22 && code !== 0x7f);
const opaque = fc.array(etagc, { maxLength: 20 }).map(codes => String.fromCharCode(...codes));
const tag = fc.record({ weak: fc.boolean(), opaque });
const blanks = fc.string({ unit: fc.constantFrom(' ', '\t'), maxLength: 3 });
const separator = fc
  .tuple(blanks, fc.array(blanks, { minLength: 1, maxLength: 3 }))
  .map(([before, members]) => before + members.map(member => `,${member}`).join(''));

describe('a list of entity tags', () => {
  test.each<[string, '*' | EntityTag[] | null]>([
    ['*', '*'],
    [' *\t', '*'],
    ['"a"', [strong('a')]],
    ['W/"a"', [weak('a')]],
    ['""', [strong('')]],
    ['"a","b"', [strong('a'), strong('b')]],
    ['"a,b", "c"', [strong('a,b'), strong('c')]],
    ['"a"\t,\tW/"b" ', [strong('a'), weak('b')]],
    [',, "a" ,, ,"b",', [strong('a'), strong('b')]],
    ['', []],
    [' , ', []],
    ['"W/"', [strong('W/')]],
    ['"é\u0080ÿ"', [strong('é\u0080ÿ')]],
    ['a', null],
    ['"a', null],
    ['a"', null],
    ['"a" "b"', null],
    ['"a""b"', null],
    ['w/"a"', null],
    ['W /"a"', null],
    ['W/ "a"', null],
    ['W/a', null],
    ['W/W/"a"', null],
    ['"a b"', null],
    ['"a\tb"', null],
    ['"a\u007f"', null],
    ['"a\u0100"', null],
    ["'a'", null],
    ['"a", *', null],
    ['*, "a"', null],
    ['**', null],
    ['"a";', null],
    ['"a"\u00a0', null],
    ['"a"\n', null],
  ])('%j', (field, expected) => {
    expect(parseTagList(field)).toEqual(expected);
  });

  test('is read back as it was written, whatever stands between its members', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(tag, separator), { maxLength: 8 }), blanks, (members, start) => {
        const field = start + members.map(([member, after]) => serializeTag(member) + after).join('');
        expect(parseTagList(field)).toEqual(members.map(([member]) => member));
      }),
    );
  });

  test('is refused as a whole as soon as one member is no tag', () => {
    const noTag = fc
      .string({
        unit: fc.constantFrom('"', 'W', '/', 'a', ' ', '\t', '*', '\u007f', '\u0100'),
        minLength: 1,
        maxLength: 8,
      })
      .filter(
        text =>
          !/^[ \t]*((W\/)?"[^"\x7f-\xff\u0100 \t]*")?[ \t]*$/.test(text) && !/^[ \t]*\*[ \t]*$/.test(text),
      );
    fc.assert(
      fc.property(
        fc.array(tag, { maxLength: 3 }),
        noTag,
        fc.array(tag, { maxLength: 3 }),
        (before, bad, after) => {
          const field = [...before.map(serializeTag), bad, ...after.map(serializeTag)].join(', ');
          expect(parseTagList(field)).toBeNull();
        },
      ),
    );
  });

  test('agrees with the grammar written as a regular expression', () => {
    const grammar =
      /^[ \t]*(?:\*|(?:(?:W\/)?"[!\x23-\x7e\x80-\xff]*")?(?:[ \t]*,[ \t]*(?:(?:W\/)?"[!\x23-\x7e\x80-\xff]*")?)*)[ \t]*$/;
    const near = fc.string({
      unit: fc.constantFrom('"', '"', 'W/', 'w/', 'a', ',', ' ', '\t', '*', '\u007f'),
      maxLength: 12,
    });
    fc.assert(
      fc.property(near, field => {
        expect(parseTagList(field) !== null).toBe(grammar.test(field));
      }),
      { numRuns: 5_000 },
    );
  });

  test.each([
    ['commas', ','.repeat(16_384)],
    ['blanks', ' '.repeat(16_384)],
    ['open quotes', '"'.repeat(16_384)],
    ['one endless tag', `"${'a'.repeat(16_384)}`],
    ['weak marks', 'W/'.repeat(8_192)],
    ['many tags', '"a",'.repeat(4_096)],
    ['many tags, the last one broken', `${'"a" , '.repeat(2_730)}"`],
  ])('of 16 KiB is looked through once: %s', (_what, field) => {
    let looks = 0;
    const counted = new Proxy(new String(field), {
      get(target, name) {
        const member = Reflect.get(target, name) as unknown;
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          looks += name === 'slice' ? Number(args[1]) - Number(args[0]) : 1;
          return (member as (...args: unknown[]) => unknown).apply(field, args);
        };
      },
    }) as unknown as string;
    parseTagList(counted);
    expect(looks).toBeLessThan(8 * field.length);
  });
});

test.each<[string, EntityTag | null]>([
  ['"a"', strong('a')],
  ['W/"a"', weak('a')],
  ['', null],
  ['"', null],
  ['"a", "b"', null],
  [' "a"', null],
  ['*', null],
])('one tag: %j', (text, expected) => {
  expect(parseTag(text)).toEqual(expected);
});

// RFC 9110 8.8.3.2, the table.
test.each([
  [weak('1'), weak('1'), false, true],
  [weak('1'), weak('2'), false, false],
  [weak('1'), strong('1'), false, true],
  [strong('1'), weak('1'), false, true],
  [strong('1'), strong('1'), true, true],
])('%j compared with %j: strongly %s, weakly %s', (one, other, strongly, weakly) => {
  expect(matchesStrongly([one], other)).toBe(strongly);
  expect(matchesWeakly([one], other)).toBe(weakly);
  expect(matchesStrongly([strong('0'), one, weak('3')], other)).toBe(strongly);
});

test('* is every tag, and no list has a tag that is not in it', () => {
  fc.assert(
    fc.property(fc.array(tag, { maxLength: 5 }), tag, (list, current) => {
      expect(matchesStrongly('*', current) && matchesWeakly('*', current)).toBe(true);
      const same = list.filter(member => member.opaque === current.opaque);
      expect(matchesWeakly(list, current)).toBe(same.length > 0);
      expect(matchesStrongly(list, current)).toBe(!current.weak && same.some(member => !member.weak));
    }),
  );
});
