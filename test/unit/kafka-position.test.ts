import { describe, expect, test } from '@jest/globals';
import { type PartitionState, startOf } from '../../workers/feed/kafka-position.ts';

const system = { id: '7', timeline: 1 };
const position = (offset: string) => ({ system: '7', timeline: '1', topic: 'freshet.changes', offset });
const state = (over: Partial<PartitionState>): PartitionState => ({
  place: 'freshet.changes/0',
  remembered: position('50'),
  committed: 50n,
  range: { earliest: 0n, latest: 100n },
  system,
  ...over,
});

describe('where a partition goes on', () => {
  const good: readonly [string, Partial<PartitionState>, bigint][] = [
    ['where it was left', {}, 50n],
    ['where it was committed, when more was remembered than committed', { committed: 40n }, 40n],
    ['at the end, when all was read', { remembered: position('100'), committed: 100n }, 100n],
    ['at the beginning, when nothing of it was deleted', { remembered: position('0'), committed: 0n }, 0n],
    [
      'at the first record that is still there, when it is the very next',
      { range: { earliest: 50n, latest: 100n } },
      50n,
    ],
  ];
  test.each(good)('%s', (_name, over, offset) => {
    expect(startOf(state(over))).toEqual({ offset, gap: null });
  });
});

describe('a gap, and never silently the end, is', () => {
  const gaps: readonly [string, Partial<PartitionState>, string, bigint][] = [
    ['the very first start', { remembered: null, committed: null }, 'first-start', 100n],
    ['nothing remembered of what the group has read', { remembered: null }, 'position-unknown', 50n],
    ['half a position', { remembered: { owner: 'w' } }, 'position-unknown', 50n],
    ['a group whose offset expired, or a new group', { committed: null }, 'offset-missing', 100n],
    ['a group that was moved ahead', { committed: 60n }, 'offset-ahead', 60n],
    [
      'records deleted that were not read',
      { range: { earliest: 51n, latest: 100n } },
      'offset-out-of-range',
      100n,
    ],
    [
      'a topic that holds less than was read of it',
      { range: { earliest: 0n, latest: 49n } },
      'offset-out-of-range',
      49n,
    ],
    [
      'a topic that holds less than was applied of it',
      { committed: 20n, range: { earliest: 0n, latest: 30n } },
      'offset-out-of-range',
      20n,
    ],
    ['another database', { system: { id: '8', timeline: 1 } }, 'other-system', 50n],
    ['another timeline', { system: { id: '7', timeline: 2 } }, 'other-timeline', 50n],
  ];
  test.each(gaps)('%s', (_name, over, cause, offset) => {
    expect(startOf(state(over))).toMatchObject({ offset, gap: { cause } });
  });
});
