import { expect, test } from '@jest/globals';
import { standbyNames } from '../../shared/origin/examine/standby-names.ts';

test.each([
  ['', []],
  ['*', ['*']],
  ['berlin, oslo', ['berlin', 'oslo']],
  ['1 (berlin)', ['berlin']],
  ['FIRST 2 (berlin, *)', ['berlin', '*']],
  ['any 1 ("freshet wal feed",oslo)', ['freshet wal feed', 'oslo']],
  ['"first 1 (x)", y', ['first 1 (x)', 'y']],
  ['"says ""hello""", oslo', ['says "hello"', 'oslo']],
])('synchronous_standby_names = %s', (value, names) => {
  expect(standbyNames(value)).toEqual(names);
});
