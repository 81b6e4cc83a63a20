import { beforeEach, describe, expect, test } from '@jest/globals';
import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import { RecordBuffer } from '../../workers/feed/record-buffer.ts';

const MiB = 1024 * 1024;

const record = (partition: number, offset: number, bytes = 10): KafkaRecord => ({
  partition,
  offset: String(offset),
  key: null,
  value: Buffer.alloc(bytes),
  headers: {},
});
const records = (partition: number, from: number, count: number, bytes?: number): KafkaRecord[] =>
  Array.from({ length: count }, (_, i) => record(partition, from + i, bytes));

let buffer: RecordBuffer;
let asked: string[];
const add = (partition: number, list: readonly KafkaRecord[], count = list.length): string | null => {
  const [first, last] = [BigInt(list[0]!.offset), BigInt(list.at(-1)!.offset)];
  return buffer.add(partition, list, { first, last, count });
};
const offsets = (most: number): string[] =>
  buffer
    .take(most)
    .flatMap(({ partition, records: list }) => list.map(({ offset }) => `${partition}@${offset}`));

beforeEach(() => {
  asked = [];
  buffer = new RecordBuffer({
    pause: partitions => asked.push(`pause ${partitions}`),
    resume: partitions => asked.push(`resume ${partitions}`),
  });
  buffer.begin(
    new Map([
      [0, 5n],
      [2, 0n],
    ]),
  );
});

describe('records that come without a hole', () => {
  test('are given in the order in which they came', () => {
    expect([add(0, records(0, 5, 2)), add(2, records(2, 0, 1)), add(0, records(0, 7, 1))]).toEqual([
      null,
      null,
      null,
    ]);
    expect(offsets(10)).toEqual(['0@5', '0@6', '2@0', '0@7']);
    expect(buffer.isEmpty).toBe(true);
  });

  test('are given in parts', () => {
    add(0, records(0, 5, 5));
    expect([offsets(2), offsets(2), offsets(2)]).toEqual([['0@5', '0@6'], ['0@7', '0@8'], ['0@9']]);
  });

  test('may leave out what brokers keep to themselves', () => {
    expect(add(0, [record(0, 5), record(0, 7)], 3)).toBeNull();
    expect(add(0, [record(0, 8)])).toBeNull();
  });

  test('may end in such, or be nothing else', () => {
    expect(buffer.add(0, [record(0, 5)], { first: 5n, last: 6n, count: 2 })).toBeNull();
    expect(buffer.add(0, [], { first: 7n, last: 7n, count: 1 })).toBeNull();
    expect(add(0, [record(0, 8)])).toBeNull();
    expect(offsets(10)).toEqual(['0@5', '0@8']);
  });

  test('that came before are passed over', () => {
    add(0, records(0, 5, 3));
    expect(add(0, records(0, 5, 3))).toBeNull();
    expect(offsets(10)).toHaveLength(3);
  });

  test('of a partition that is not ours are passed over', () => {
    expect(add(1, records(1, 0, 3))).toBeNull();
    expect(buffer.isEmpty).toBe(true);
  });
});

describe('a hole', () => {
  test('before the first record is told', () => {
    expect(add(0, records(0, 6, 1))).toBe('offset 6 came where 5 was expected');
  });

  test('between batches is told', () => {
    add(0, records(0, 5, 2));
    expect(add(0, records(0, 8, 1))).toBe('offset 8 came where 7 was expected');
  });

  test('inside a batch is told', () => {
    expect(add(0, [record(0, 5), record(0, 7)])).toBe('2 records came for offsets 5 to 7');
  });

  test('is not handed over', () => {
    add(0, records(0, 6, 1));
    expect(buffer.isEmpty).toBe(true);
  });
});

describe('what waits', () => {
  test('is bounded: its partition is paused, and goes on when half is taken', () => {
    for (let i = 0; i < 16; i += 1) add(2, records(2, i, 1, MiB));
    expect(asked).toEqual(['pause 2']);
    offsets(7);
    expect(asked).toEqual(['pause 2']);
    offsets(2);
    expect(asked).toEqual(['pause 2', 'resume 2']);
  });

  test('of another partition is not paused with it', () => {
    for (let i = 0; i < 16; i += 1) add(2, records(2, i, 1, MiB));
    add(0, records(0, 5, 1));
    expect(asked).toEqual(['pause 2']);
  });
});

describe('a partition is stuck', () => {
  const later = (): number => performance.now() + 1_000;
  const ranges = (latest: bigint) => new Map([[0, { earliest: 0n, latest }]]);

  test('when the topic holds more and nothing comes', () => {
    expect(buffer.stuckSince(ranges(6n), later())).toBe(0);
  });

  test('not when all has come', () => {
    expect(buffer.stuckSince(ranges(5n), later())).toBeNull();
  });

  test('not when something came since', () => {
    expect(buffer.stuckSince(ranges(6n), performance.now() - 60_000)).toBeNull();
  });

  test('not while it is paused', () => {
    for (let i = 0; i < 16; i += 1) add(2, records(2, i, 1, MiB));
    expect(buffer.stuckSince(new Map([[2, { earliest: 0n, latest: 99n }]]), later())).toBeNull();
  });
});
