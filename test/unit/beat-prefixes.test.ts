import { describe, expect, test } from '@jest/globals';
import { partitionOfKey } from '../../connectors/kafka-client.ts';
import { partitionOfPrefix } from '../../workers/feed/beat-message.ts';
import { beatPrefixes } from '../../workers/feed/beat-prefixes.ts';

const placed = (prefix: string, partitions: number): number =>
  partitionOfKey(Buffer.from(JSON.stringify({ prefix })), partitions);

describe.each([1, 2, 4, 12])('beats of a topic of %d partitions', partitions => {
  const prefixes = beatPrefixes(partitions);

  test('reach every partition, each the one it names', () => {
    const all = Array.from({ length: partitions }, (_, i) => i);
    expect(prefixes.map(prefix => placed(prefix, partitions))).toEqual(all);
    expect(prefixes.map(partitionOfPrefix)).toEqual(all);
  });

  test('miss their partition, every one of them, as soon as the topic has grown', () => {
    for (let more = partitions + 1; more <= partitions * 4; more += 1) {
      const hits = prefixes.filter((prefix, partition) => placed(prefix, more) === partition);
      expect({ more, hits }).toEqual({ more, hits: [] });
    }
  });
});

test("keys are placed as Java's client places them", () => {
  // org.apache.kafka.common.utils.Utils.toPositive(Utils.murmur2(key)) % 4
  const known: readonly [string, number][] = [
    ['{"prefix":"freshet.beat.0"}', 0],
    ['{"prefix":"freshet.beat.1"}', 1],
    ['{"prefix":"freshet.beat.2"}', 1],
    ['{"prefix":"freshet.beat.3"}', 3],
    ['{"prefix":"freshet.beat.4"}', 1],
    ['{"prefix":"freshet.beat.5"}', 0],
    ['{"id":9007199254740993}', 2],
  ];
  expect(known.map(([key]) => [key, partitionOfKey(Buffer.from(key), 4)])).toEqual(known);
});

describe('a prefix of a beat', () => {
  test.each(['freshet.beat.', 'freshet.beat.x', 'freshet.beat.-1', 'freshet.beat.1.2.3', 'freshet.beats.1'])(
    'is not %s',
    prefix => {
      expect(() => partitionOfPrefix(prefix)).toThrow(/expected a prefix/);
    },
  );
});
