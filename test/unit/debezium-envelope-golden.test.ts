import { describe, expect, test } from '@jest/globals';
import { CASES } from '../feeds/envelope-cases.ts';
import {
  changesOf,
  decode,
  halved,
  type Recording,
  readCommon,
  readRecordings,
} from '../support/envelope-recording.ts';

const common = readCommon();
const tables = new Map(common.tables.map(table => [table.qualified, table]));
const recordings = readRecordings();
const named = (name: string): Recording => recordings.find(one => one.name === name)!;

describe('recorded envelopes', () => {
  test.each(recordings)('say what the log said: $name', ({ records, changes }) => {
    expect(halved(changesOf(decode(common, records)), tables)).toEqual(changes);
  });

  test('are those of every case', () => {
    expect(recordings.map(({ name, statements }) => ({ name, statements }))).toEqual(
      CASES.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    );
  });

  test('hold every kind of change, of every replica identity', () => {
    const ops = (name: string): string[] => [...new Set(named(name).changes.map(({ op }) => op))].toSorted();
    for (const name of ['typed-default', 'typed-full', 'typed-index'])
      expect(ops(name)).toEqual(['delete', 'insert', 'update']);
    expect(ops('truncations')).toContain('truncate');
    expect(named('days').changes.length).toBeGreaterThan(20);
  });

  test('of messages bring only the beat that is ours, its transaction or none', () => {
    const [beat] = decode(common, named('messages').records);
    expect(decode(common, named('messages').records)).toEqual([
      { kind: 'beat', partition: 0, beat: { writer: 'w', number: 2, incarnation: 'é' }, again: false },
    ]);
    expect(beat).toBeDefined();
    expect(named('messages').records.map(({ key }) => key)).toEqual([
      '{"prefix":"freshet.invalidate"}',
      '{"prefix":"freshet.beat.0"}',
      '{"prefix":"freshet.beat.0"}',
    ]);
  });
});
