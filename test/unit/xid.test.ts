import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { widen, XID_LIMIT } from '../../shared/protocol/xid.ts';

const HALF = 2n ** 31n;
const EPOCH = 2n ** 32n;
const low = (xid: bigint): number => Number(xid % EPOCH);

describe('widen', () => {
  test.each([
    ['the reference itself', 7n, 7n],
    ['a little below', 1_000n, 900n],
    ['a little above: an event may come before anybody has seen its transaction', 1_000n, 1_100n],
    ['above, across the border of an epoch', EPOCH - 5n, EPOCH + 5n],
    ['below, across the border of an epoch', EPOCH + 5n, EPOCH - 5n],
    ['the first of an epoch', 3n * EPOCH - 1n, 3n * EPOCH],
    ['the last of an epoch', 3n * EPOCH, 3n * EPOCH - 1n],
    ['as far below as can be told', 5n * EPOCH, 5n * EPOCH - HALF],
    ['as far above as can be told', 5n * EPOCH, 5n * EPOCH + HALF - 1n],
    ['with a low half beyond what is signed', EPOCH + HALF + 2n, EPOCH + HALF - 2n],
  ])('finds %s', (_name, reference, xid) => {
    expect(widen(low(xid), reference)).toBe(xid);
  });

  test('finds every id within a signed distance of the reference', () => {
    const reference = fc.oneof(
      fc.bigInt({ min: HALF, max: XID_LIMIT }),
      // Close to the borders of epochs, where a mistake would show.
      fc
        .tuple(fc.bigInt({ min: 1n, max: 2n ** 20n }), fc.bigInt({ min: -5n, max: 5n }))
        .map(([epoch, off]) => epoch * EPOCH + off),
    );
    const distance = fc.oneof(fc.bigInt({ min: -HALF, max: HALF - 1n }), fc.bigInt({ min: -9n, max: 9n }));
    fc.assert(
      fc.property(reference, distance, (around, off) => {
        expect(widen(low(around + off), around)).toBe(around + off);
      }),
      { numRuns: 2_000 },
    );
  });

  test('finds no id nearer than the one it answers with', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.bigInt({ min: EPOCH, max: XID_LIMIT }),
        (some, reference) => {
          const found = widen(some, reference);
          expect(low(found)).toBe(some);
          const distance = found < reference ? reference - found : found - reference;
          expect(distance).toBeLessThanOrEqual(HALF);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
