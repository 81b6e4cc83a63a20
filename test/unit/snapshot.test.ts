import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseSnapshot, type Snapshot, sees } from '../../shared/protocol/snapshot.ts';

const print = ({ xmin, xmax, running }: Snapshot): string => `${xmin}:${xmax}:${[...running].join(',')}`;

/** As Postgres makes them: xmin is not beyond xmax, and who runs lies between the two. */
const snapshots = (largest: bigint): fc.Arbitrary<Snapshot> =>
  fc
    .tuple(fc.bigInt({ min: 3n, max: largest }), fc.bigInt({ min: 3n, max: largest }))
    .map(([a, b]) => (a < b ? [a, b] : [b, a]) as [bigint, bigint])
    .chain(([xmin, xmax]) =>
      fc.record({
        xmin: fc.constant(xmin),
        xmax: fc.constant(xmax),
        running:
          xmin === xmax
            ? fc.constant(new Set<bigint>())
            : fc.uniqueArray(fc.bigInt({ min: xmin, max: xmax - 1n })).map(xids => new Set(xids)),
      }),
    );

describe('parseSnapshot', () => {
  test('reads what Postgres prints', () => {
    expect(parseSnapshot('10:20:10,14')).toEqual({ xmin: 10n, xmax: 20n, running: new Set([10n, 14n]) });
    expect(parseSnapshot('10:10:')).toEqual({ xmin: 10n, xmax: 10n, running: new Set() });
  });

  test('reads back whatever is printed, up to 64 bits', () => {
    fc.assert(
      fc.property(snapshots(2n ** 64n - 1n), snapshot => {
        expect(parseSnapshot(print(snapshot))).toEqual(snapshot);
      }),
    );
  });

  test.each([
    '',
    '10',
    '10:20',
    '10:20:10,',
    '10:20:,10',
    '10:20: 10',
    '-1:20:',
    '10:20:10:',
    'a:b:c',
    '1:2:\n',
  ])('refuses %j', text => {
    expect(() => parseSnapshot(text)).toThrow(RangeError);
    expect(() => parseSnapshot(text)).toThrow(JSON.stringify(text));
  });
});

describe('sees', () => {
  test('says of every id what counting them one by one says', () => {
    const ids = Array.from({ length: 45 }, (_, i) => BigInt(i));
    fc.assert(
      fc.property(snapshots(40n), snapshot => {
        const visible = new Set(ids.filter(id => id < snapshot.xmax));
        for (const id of snapshot.running) visible.delete(id);
        expect(ids.filter(id => sees(snapshot, id))).toEqual([...visible]);
      }),
      { numRuns: 1_000 },
    );
  });

  test('is for ever: what one snapshot sees, a later one sees', () => {
    // Later: some of those that ran have ended, and more were begun.
    const pairs = snapshots(1_000n).chain(earlier =>
      fc.record({
        earlier: fc.constant(earlier),
        running: fc.subarray([...earlier.running]),
        begun: fc.bigInt({ min: 0n, max: 50n }),
      }),
    );
    fc.assert(
      fc.property(pairs, fc.bigInt({ min: 3n, max: 1_100n }), ({ earlier, running, begun }, xid) => {
        const xmax = earlier.xmax + begun;
        const [xmin = xmax] = running.toSorted((a, b) => Number(a - b));
        const later = { xmin, xmax, running: new Set(running) };
        if (sees(earlier, xid)) expect(sees(later, xid)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});
