import { beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseSnapshot } from '../../shared/protocol/snapshot.ts';
import type { FeedItem } from '../../workers/feed/feed.ts';
import { BULK_ROWS, Ledger, type Pending, type Settled } from '../../workers/ledger.ts';

/** A row of `table` was updated by `xid`. */
const change = (xid: number, id: string | number, table = 'users'): FeedItem => ({
  kind: 'change',
  partition: 0,
  receivedMs: 1,
  change: {
    op: 'update',
    table,
    xid: BigInt(xid),
    lsn: 1n,
    committedMs: 1,
    keyBefore: null,
    keyAfter: [String(id)],
    before: null,
    after: null,
  },
});
const rows = (xid: number, count: number, table = 'users', from = 0): FeedItem[] =>
  Array.from({ length: count }, (_, i) => change(xid, from + i, table));
const mark = (position: string): FeedItem => ({ kind: 'mark', partition: 0, position, committedMs: 1 });
const beat = (number: number): FeedItem => ({
  kind: 'beat',
  partition: 0,
  beat: { writer: 'w', number, incarnation: 'i' },
  again: false,
});
/** A row that a connector found when it took a snapshot of the table. */
const nobodys = (id: string | number): FeedItem => {
  const item = change(0, id) as FeedItem & { kind: 'change' };
  return { ...item, change: { ...item.change, op: 'insert', xid: null } };
};
const unreadable = (table: string | null, xid: bigint | null): FeedItem => ({
  kind: 'unreadable',
  partition: 0,
  table,
  xid,
  place: '0/1',
  raw: Buffer.from('?'),
  error: new Error('unreadable'),
});

let ledger: Ledger;
beforeEach(() => {
  ledger = new Ledger();
});

/** One round as the applier goes through it: what was applied under this snapshot, and what is settled by that. */
function round(snapshot: string, items: readonly FeedItem[] = []): Settled & { applied: readonly Pending[] } {
  ledger.add(items);
  const p = parseSnapshot(snapshot);
  const applied = ledger.toApply(p);
  for (const one of applied) {
    one.appliedMs ??= 1;
    if (ledger.isVisible(one, p)) one.settled = true;
  }
  return { applied, ...ledger.advance() };
}

const tags = (pending: readonly Pending[]): string[] =>
  pending.flatMap(one => one.rows.map(({ tag }) => tag));
const wholeTables = (pending: readonly Pending[]): unknown[] =>
  pending.flatMap(({ wholeTable }) => wholeTable ?? []);

describe('what is applied', () => {
  test('is everything that is new, whether it is visible or not', () => {
    expect(tags(round('100:100:', [change(99, 1), change(100, 2), change(200, 3)]).applied)).toEqual([
      'users:1',
      'users:2',
      'users:3',
    ]);
  });

  test('is once more what was not visible the first time, in the round that sees it', () => {
    round('100:102:100,101', [change(100, 1), change(101, 2)]);
    expect(tags(round('100:103:100').applied)).toEqual(['users:2']);
    expect(tags(round('103:103:').applied)).toEqual(['users:1']);
  });

  test('is nothing while what was applied stays invisible', () => {
    round('100:100:', [change(100, 1)]);
    expect(round('100:101:100').applied).toEqual([]);
    expect(ledger.size).toBe(1);
  });

  test('is nothing that was settled, though it still waits for what stands before it', () => {
    round('100:103:100', [change(100, 1), change(102, 2)]);
    expect(round('100:103:100').applied).toEqual([]);
    expect(tags(round('103:103:').applied)).toEqual(['users:1']);
  });

  test('is offered again by a round that could not finish', () => {
    ledger.add([change(99, 1)]);
    expect(tags(ledger.toApply(parseSnapshot('100:100:')))).toEqual(['users:1']);
    expect(tags(round('100:100:').applied)).toEqual(['users:1']);
  });

  test('is both rows of a change of the key', () => {
    const item = change(99, 2) as FeedItem & { kind: 'change' };
    const moved: FeedItem = { ...item, change: { ...item.change, keyBefore: ['1'] } };
    expect(tags(round('100:100:', [moved]).applied)).toEqual(['users:1', 'users:2']);
  });
});

describe('what is settled', () => {
  test('moves the position to the last mark', () => {
    const { position, changes } = round('100:100:', [change(98, 1), mark('A'), change(99, 2), mark('B')]);
    expect(position).toMatchObject({ partition: 0, position: 'B' });
    expect(tags(changes)).toEqual(['users:1', 'users:2']);
    expect(ledger.isEmpty).toBe(true);
  });

  test('ends before the first change that is not visible', () => {
    const items = [change(99, 1), mark('A'), change(100, 2), mark('B'), change(101, 3), mark('C'), beat(1)];
    const first = round('100:102:100', items);
    expect(first.position).toMatchObject({ position: 'A' });
    expect(tags(first.changes)).toEqual(['users:1']);
    expect(first.beats).toEqual([]);
    const second = round('102:102:');
    expect(second.position).toMatchObject({ position: 'C' });
    expect(tags(second.changes)).toEqual(['users:2', 'users:3']);
    expect(second.beats).toMatchObject([{ beat: { number: 1 } }]);
  });

  test('gives no position when a change of the first transaction is not visible', () => {
    expect(round('100:100:', [change(100, 1), mark('A')]).position).toBeNull();
  });

  test('gives every beat once, in order, when all before it is settled', () => {
    const numbers = ({ beats }: Settled): number[] => beats.map(one => one.beat.number);
    expect(numbers(round('100:100:', [beat(1), change(100, 1), beat(2), beat(3)]))).toEqual([1]);
    expect(numbers(round('100:101:100', [beat(4)]))).toEqual([]);
    expect(numbers(round('101:101:'))).toEqual([2, 3, 4]);
    expect(numbers(round('101:101:'))).toEqual([]);
  });

  test('never passes what no snapshot saw after it was received, whatever comes when', () => {
    // Each transaction becomes visible in a round of its own, possibly long after its change came.
    const feeds = fc.array(
      fc.record({
        comesIn: fc.nat(5),
        isSeenFrom: fc.nat(9),
        follows: fc.constantFrom('mark', 'beat', 'nothing'),
      }),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(feeds, feed => {
        ledger = new Ledger();
        const log = feed.toSorted((a, b) => a.comesIn - b.comesIn).map((one, i) => ({ ...one, xid: 10 + i }));
        const position = new Map(log.map((one, i) => [String(one.xid), i]));
        const appliedSeen = new Set<string>();
        let front = -1;
        for (let now = 0; now < 10; now++) {
          const running = log.filter(one => one.isSeenFrom > now).map(one => one.xid);
          const items = log
            .filter(one => one.comesIn === now)
            .flatMap(one => [
              change(one.xid, one.xid),
              ...(one.follows === 'mark' ? [mark(String(one.xid))] : []),
              ...(one.follows === 'beat' ? [beat(one.xid)] : []),
            ]);
          const settled = round(`${Math.min(100, ...running)}:100:${running.join(',')}`, items);
          for (const tag of tags(settled.applied)) {
            if (!running.includes(Number(tag.split(':')[1]))) appliedSeen.add(tag);
          }
          const reached = [settled.position?.position, ...settled.beats.map(one => String(one.beat.number))];
          const furthest = Math.max(front, ...reached.map(xid => position.get(xid ?? '') ?? -1));
          for (const { xid } of log.slice(0, furthest + 1)) expect(appliedSeen).toContain(`users:${xid}`);
          const order = settled.changes.map(one => position.get(String(one.xid))!);
          expect(order).toEqual(order.map((_, i) => front + 1 + i));
          front += order.length;
        }
        expect(front).toBe(log.length - 1);
        expect(ledger.isEmpty).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a change that cannot be read', () => {
  test('of a known transaction puts its table in doubt, and is settled when that is visible', () => {
    const first = round('100:101:100', [unreadable('users', 100n), mark('A')]);
    expect(wholeTables(first.applied)).toEqual([{ table: 'users', cause: 'unreadable' }]);
    expect(first.position).toBeNull();
    const second = round('101:101:');
    expect(wholeTables(second.applied)).toEqual([{ table: 'users', cause: 'unreadable' }]);
    expect(second.position).toMatchObject({ position: 'A' });
  });

  test('of an unknown table puts every table in doubt', () => {
    expect(wholeTables(round('100:100:', [unreadable(null, 99n)]).applied)).toEqual([
      { table: null, cause: 'unreadable' },
    ]);
  });

  test('of an unknown transaction is settled when everything that ran when it came has ended', () => {
    ledger.add([unreadable('users', null), mark('A')]);
    expect(ledger.lacksBoundary).toBe(true);
    ledger.bound(112n);
    expect(ledger.lacksBoundary).toBe(false);
    expect(round('100:110:100,105').position).toBeNull();
    expect(round('105:120:105').position).toBeNull();
    expect(round('112:130:112,125').position).toBeNull();
    // What was begun since does not matter.
    expect(round('125:130:125').position).toMatchObject({ position: 'A' });
  });

  test('of an unknown transaction waits also for ids that the first snapshot ends before', () => {
    // 100 and 101 run, and 99 was the last to end: Postgres prints 100:100: then.
    ledger.add([unreadable('users', null), mark('A')]);
    ledger.bound(102n);
    expect(round('100:100:').position).toBeNull();
    expect(round('101:101:').position).toBeNull();
    expect(round('103:103:').position).toMatchObject({ position: 'A' });
  });

  test('of an unknown transaction is not settled before its boundary is known', () => {
    expect(round('100:100:', [unreadable('users', null), mark('A')]).position).toBeNull();
    ledger.bound(100n);
    expect(ledger.lacksBoundary).toBe(false);
    expect(round('101:101:').position).toMatchObject({ position: 'A' });
  });

  test('without a key puts its table in doubt instead of a row', () => {
    const item = change(99, 1) as FeedItem & { kind: 'change' };
    const { applied } = round('100:100:', [{ ...item, change: { ...item.change, keyAfter: null } }]);
    expect(tags(applied)).toEqual([]);
    expect(wholeTables(applied)).toEqual([{ table: 'users', cause: 'unreadable' }]);
  });
});

describe('a row of which nobody knows the transaction', () => {
  test('is fenced with one that began after it came', () => {
    ledger.add([nobodys(1), mark('A')]);
    expect(ledger.lacksBoundary).toBe(true);
    ledger.bound(112n);
    expect(ledger.lacksBoundary).toBe(false);
    const { applied } = round('100:110:100');
    expect(tags(applied)).toEqual(['users:1']);
    expect(applied[0]!.xid).toBe(112n);
  });

  test('is settled by a P that sees that one, whatever else runs', () => {
    ledger.add([nobodys(1), mark('A')]);
    ledger.bound(112n);
    expect(round('100:112:100').position).toBeNull();
    const seen = round('100:120:100');
    expect(tags(seen.applied)).toEqual(['users:1']);
    expect(seen.position).toMatchObject({ position: 'A' });
  });

  test('keeps the one it was given first', () => {
    ledger.add([nobodys(1)]);
    ledger.bound(112n);
    ledger.add([nobodys(2)]);
    expect(ledger.lacksBoundary).toBe(true);
    ledger.bound(120n);
    expect(round('100:100:').applied.map(({ xid }) => xid)).toEqual([112n, 120n]);
  });

  test('is the only thing beside an unreadable one that needs it', () => {
    ledger.add([change(99, 1), beat(1), mark('A'), unreadable('users', 99n)]);
    ledger.bound(112n);
    const { applied } = round('100:100:');
    expect(applied.map(({ xid, boundary }) => [xid, boundary])).toEqual([
      [99n, null],
      [null, null],
      [null, null],
      [99n, null],
    ]);
  });
});

describe('what is at hand when a definition changed', () => {
  const definition = { table: 'users', cause: 'definition' };
  const inDoubt = new Set(['users']);

  test('puts its table in doubt instead of rows, once its transaction is visible', () => {
    ledger.add([change(100, 1), mark('A'), change(99, 2), mark('B')]);
    ledger.doubt(inDoubt);
    const first = round('100:101:100');
    expect(tags(first.applied)).toEqual([]);
    expect(first.position).toBeNull();
    const second = round('101:101:');
    expect(wholeTables(second.applied)).toEqual([definition]);
    expect(second.position).toMatchObject({ position: 'B' });
    expect(second.changes.map(({ item }) => item.kind)).toEqual(['doubt', 'doubt']);
  });

  test('is doubted also where it was settled and waits for what stands before it', () => {
    round('100:103:100', [change(100, 1), change(102, 2), mark('A')]);
    ledger.doubt(inDoubt);
    expect(wholeTables(round('100:103:100').applied)).toEqual([definition]);
    expect(round('103:103:').position).toMatchObject({ position: 'A' });
  });

  test('and of another table, or no row at all, stays as it is', () => {
    const items = [change(99, 1, 'teams'), beat(1), unreadable('users', 99n), mark('A')];
    ledger.add(items);
    ledger.doubt(inDoubt);
    const { applied, changes, beats, position } = round('100:100:');
    expect(tags(applied)).toEqual(['teams:1']);
    expect(wholeTables(applied)).toEqual([{ table: 'users', cause: 'unreadable' }]);
    expect(changes).toHaveLength(2);
    expect(beats).toMatchObject([{ beat: { number: 1 } }]);
    expect(position).toMatchObject({ position: 'A' });
  });

  test('is doubted under the boundary of a row of which nobody knows the transaction', () => {
    ledger.add([nobodys(1), mark('A')]);
    ledger.bound(112n);
    ledger.doubt(inDoubt);
    expect(ledger.lacksBoundary).toBe(false);
    expect(round('100:112:100').position).toBeNull();
    const { applied, position } = round('100:113:100');
    expect(wholeTables(applied)).toEqual([definition]);
    expect(position).toMatchObject({ position: 'A' });
  });

  test('leaves what comes afterwards to be told by its key', () => {
    ledger.add([change(99, 1)]);
    ledger.doubt(inDoubt);
    expect(tags(round('100:100:', [change(99, 2)]).applied)).toEqual(['users:2']);
  });
});

describe('a large transaction', () => {
  const bulk = [{ table: 'users', cause: 'bulk' }];

  test('is applied row by row up to its bound', () => {
    const { applied } = round('100:100:', rows(99, BULK_ROWS));
    expect(tags(applied)).toHaveLength(BULK_ROWS);
    expect(wholeTables(applied)).toEqual([]);
  });

  test('beyond the bound is one generation instead of rows', () => {
    const { applied } = round('100:100:', rows(99, BULK_ROWS + 500));
    expect(tags(applied)).toEqual([]);
    expect(wholeTables(applied)).toEqual(bulk);
  });

  test('is counted across batches, and takes back rows that are not settled yet', () => {
    expect(tags(round('99:100:99', rows(99, BULK_ROWS)).applied)).toHaveLength(BULK_ROWS);
    expect(wholeTables(round('99:100:99', rows(99, 1, 'users', BULK_ROWS)).applied)).toEqual(bulk);
    expect(round('99:100:99', rows(99, 1_000, 'users', BULK_ROWS + 1)).applied).toEqual([]);
    const last = round('100:100:', [mark('A')]);
    expect(tags(last.applied)).toEqual([]);
    expect(wholeTables(last.applied)).toEqual(bulk);
    expect(last.position).toMatchObject({ position: 'A' });
  });

  test('is counted also when its earlier rows are settled and gone', () => {
    for (let from = 0; from < BULK_ROWS; from += 2_000) {
      expect(tags(round('100:100:', rows(99, 2_000, 'users', from)).changes)).toHaveLength(2_000);
    }
    expect(ledger.isEmpty).toBe(true);
    const { applied, changes } = round('100:100:', rows(99, 700, 'users', BULK_ROWS));
    expect(tags(applied)).toEqual([]);
    expect(wholeTables(applied)).toEqual(bulk);
    expect(wholeTables(changes)).toEqual(bulk);
  });

  test('is settled when it is visible, not sooner', () => {
    const first = round('99:100:99', [...rows(99, BULK_ROWS + 1), mark('A')]);
    expect([first.position, first.changes]).toEqual([null, []]);
    expect(round('100:100:').position).toMatchObject({ position: 'A' });
  });

  test('leaves rows of other tables and of other transactions alone', () => {
    const others = [change(99, 'kept', 'teams'), change(98, 'kept')];
    const { applied } = round('100:100:', [...others, ...rows(99, BULK_ROWS + 1)]);
    expect(tags(applied)).toEqual(['teams:kept', 'users:kept']);
  });

  test('is counted across the marks that a broker puts between its rows', () => {
    for (let from = 0; from < BULK_ROWS; from += 500) {
      round('99:100:99', [...rows(99, 500, 'users', from), mark(String(from)), beat(from + 1)]);
    }
    const { applied } = round('99:100:99', [change(99, 'one more'), mark('last')]);
    expect(wholeTables(applied)).toEqual(bulk);
    const visible = round('100:100:');
    expect(tags(visible.applied)).toEqual([]);
    expect(wholeTables(visible.applied)).toEqual(bulk);
    expect(visible.position).toMatchObject({ position: 'last' });
  });

  test('is counted also across rows of which nobody knows the transaction', () => {
    ledger.add(rows(99, BULK_ROWS));
    ledger.add([nobodys(1)]);
    ledger.bound(150n);
    const { applied } = round('200:200:', [change(99, 'one more')]);
    expect(wholeTables(applied)).toEqual(bulk);
    expect(tags(applied)).toEqual(['users:1']);
  });

  test('covers its later rows also when it was settled before they came', () => {
    expect(wholeTables(round('100:100:', rows(99, BULK_ROWS + 1)).changes)).toEqual(bulk);
    const rest = round('100:100:', [...rows(99, 10, 'users', BULK_ROWS + 1), mark('A')]);
    expect(tags(rest.applied)).toEqual([]);
    expect(rest.position).toMatchObject({ position: 'A' });
  });

  test('is not made of small ones, nor of several tables', () => {
    const half = BULK_ROWS / 2 + 1;
    const two = [...rows(97, half), mark('A'), ...rows(98, half), mark('B')];
    expect(
      wholeTables(round('100:100:', [...two, ...rows(99, half), ...rows(99, half, 'teams')]).applied),
    ).toEqual([]);
  });

  test('is counted from its beginning when it is delivered again', () => {
    round('99:100:99', rows(99, BULK_ROWS));
    ledger.clear();
    expect(ledger.isEmpty).toBe(true);
    const { applied } = round('100:100:', rows(99, BULK_ROWS));
    expect(tags(applied)).toHaveLength(BULK_ROWS);
  });
});
