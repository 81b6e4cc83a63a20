import { describe, expect, test } from '@jest/globals';
import { evaluate, judge, readConditions, type Verdict } from '../../api/http/preconditions.ts';

const CURRENT = '"now"';

/** What a field may say, and what that means for a current tag of `"now"`; `*` means "anything at all". */
const MATCH = [
  { field: undefined, means: 'absent' },
  { field: '"now"', means: 'holds' },
  { field: '"old", "now"', means: 'holds' },
  { field: '*', means: 'holds' },
  { field: '"old"', means: 'fails' },
  { field: 'W/"now"', means: 'fails' },
  { field: '', means: 'fails' },
  { field: 'now', means: 'malformed' },
  { field: '"now", old', means: 'malformed' },
] as const;

const VERSION = [
  { field: undefined, means: 'absent' },
  { field: 'now', means: 'holds' },
  { field: 'old', means: 'fails' },
  { field: '*', means: 'fails' },
  { field: '"now"', means: 'malformed' },
  { field: 'now, old', means: 'malformed' },
  { field: '', means: 'malformed' },
] as const;

const NONE_MATCH = [
  { field: undefined, means: 'absent' },
  { field: '"now"', means: 'matches' },
  { field: 'W/"now"', means: 'matches' },
  { field: '"old",, "now"', means: 'matches' },
  { field: '*', means: 'matches' },
  { field: '"old"', means: 'differs' },
  { field: '', means: 'differs' },
  // Broken: never a match, and never an error.
  { field: 'now', means: 'differs' },
  { field: '"now", old', means: 'differs' },
  { field: '"now', means: 'differs' },
] as const;

const METHODS = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'POST', 'QUERY'];

/** RFC 9110 13.2.2, steps 1 and 3, written as a table of meanings rather than as steps. */
function expected(
  method: string,
  exists: boolean,
  match: string,
  version: string,
  noneMatch: string,
): Verdict {
  if ([match, version].includes('malformed')) return 'malformed';
  const asksForOne = match !== 'absent' || version !== 'absent';
  if (asksForOne && !exists) return 'failed';
  if ([match, version].includes('fails')) return 'failed';
  if (noneMatch !== 'matches' || !exists) return 'proceed';
  return ['GET', 'HEAD'].includes(method) ? 'not-modified' : 'failed';
}

describe.each([CURRENT, null])('with %j as the current tag', current => {
  test.each(METHODS)('every combination of conditions on %s has the verdict of the table', method => {
    let seen = 0;
    for (const match of MATCH) {
      for (const version of VERSION) {
        for (const noneMatch of NONE_MATCH) {
          const fields = { ifMatch: match.field, ifVersion: version.field, ifNoneMatch: noneMatch.field };
          const verdict = expected(method, current !== null, match.means, version.means, noneMatch.means);
          expect({ fields, verdict: judge(method, fields, current) }).toEqual({ fields, verdict });
          seen += 1;
        }
      }
    }
    expect(seen).toBe(MATCH.length * VERSION.length * NONE_MATCH.length);
  });
});

test('a weak current tag satisfies If-None-Match and never If-Match', () => {
  expect(judge('GET', { ifNoneMatch: '"now"' }, 'W/"now"')).toBe('not-modified');
  expect(judge('PUT', { ifMatch: 'W/"now"' }, 'W/"now"')).toBe('failed');
});

test('conditions read once can be judged against a state that is learned later', () => {
  const conditions = readConditions({ ifMatch: '"a", "b"', ifVersion: 'b' })!;
  expect(['"a"', '"b"', '"c"', null].map(current => evaluate('PUT', conditions, current))).toEqual([
    'failed',
    'proceed',
    'failed',
    'failed',
  ]);
});
