import { describe, expect, test } from '@jest/globals';
import type { Change } from '../../workers/feed/feed.ts';
import { plan } from '../../workers/plan.ts';

const change = (op: Change['op'], rest: Partial<Change> = {}): Change => ({
  op,
  table: 'users',
  xid: 100n,
  lsn: 1n,
  committedMs: 1,
  keyBefore: null,
  keyAfter: null,
  before: null,
  after: null,
  ...rest,
});

const there = (id: string) => ({ tag: `users:${id}`, key: [id], gone: false });
const gone = (id: string) => ({ tag: `users:${id}`, key: [id], gone: true });

describe('what a change makes wrong', () => {
  test.each([
    [
      'an insert: its row, which somebody may remember as missing',
      change('insert', { keyAfter: ['1'] }),
      [there('1')],
    ],
    ['an update: its row', change('update', { keyAfter: ['1'] }), [there('1')]],
    ['a delete: its row, which is gone', change('delete', { keyBefore: ['1'] }), [gone('1')]],
    [
      'a change of the key: both rows, the one that is gone and the one that is new',
      change('update', { keyBefore: ['1'], keyAfter: ['2'] }),
      [gone('1'), there('2')],
    ],
    [
      'an update that tells its key twice: one row, which is not gone',
      change('update', { keyBefore: ['1'], keyAfter: ['1'] }),
      [there('1')],
    ],
    [
      'a change of one column of a key: both rows',
      change('update', { table: 'billing.lines', keyBefore: ['7', 'a'], keyAfter: ['7', 'b'] }),
      [
        { tag: 'billing.lines:7,a', key: ['7', 'a'], gone: true },
        { tag: 'billing.lines:7,b', key: ['7', 'b'], gone: false },
      ],
    ],
    [
      'keys that differ only in where a comma stands: both rows',
      change('update', { keyBefore: ['a,b', 'c'], keyAfter: ['a', 'b,c'] }),
      [
        { tag: 'users:a%2Cb,c', key: ['a,b', 'c'], gone: true },
        { tag: 'users:a,b%2Cc', key: ['a', 'b,c'], gone: false },
      ],
    ],
    [
      'keys that differ only in how they are spelt: both rows',
      change('update', { keyBefore: ['042'], keyAfter: ['42'] }),
      [gone('042'), there('42')],
    ],
  ])('%s', (_name, one, rows) => {
    expect(plan(one)).toEqual({ rows, wholeTable: null });
  });

  test('a truncate: the whole table', () => {
    expect(plan(change('truncate'))).toEqual({ rows: [], wholeTable: 'truncate' });
  });

  test.each([
    ['a delete without its key', change('delete', { keyAfter: ['1'] })],
    ['an insert without its key', change('insert')],
    ['an update that tells the key of before only', change('update', { keyBefore: ['1'] })],
  ])('%s: the whole table, since nobody knows which row', (_name, one) => {
    expect(plan(one)).toEqual({ rows: [], wholeTable: 'unreadable' });
  });
});
