import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

const page = readFileSync('shared/protocol/PROTOCOL.md', 'utf8');
/** `test/…​.test.ts` › part of a test's name */
const references = [...page.matchAll(/`(test\/[^`]+\.test\.ts)`(?: › ([^|·\n]+))?/g)].map(
  ([, file, name]) => ({
    file: file!,
    name: name?.trim() ?? '',
  }),
);

describe('PROTOCOL.md', () => {
  test('numbers its promises without a hole', () => {
    const numbers = [...page.matchAll(/^\| P(\d+) \|/gm)].map(([, number]) => Number(number));
    expect(numbers.length).toBeGreaterThan(20);
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  });

  test('names a test for every promise', () => {
    const rows = page.split('\n').filter(line => /^\| P\d+ \|/.test(line));
    expect(rows.filter(row => !/`test\/[^`]+\.test\.ts`/.test(row))).toEqual([]);
  });

  test.each(references)('names a test that is there: $file › $name', ({ file, name }) => {
    expect(readFileSync(file, 'utf8')).toContain(name);
  });
});
