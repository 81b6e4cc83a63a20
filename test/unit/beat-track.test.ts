import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BeatTrack } from '../../workers/beat-track.ts';
import type { FeedItem } from '../../workers/feed/feed.ts';

const HERE = 'this life';

type BeatItem = FeedItem & { kind: 'beat' };
const beat = (
  writer: string,
  number: number,
  more: { again?: boolean; incarnation?: string | null } = {},
) => {
  const { again = false, incarnation = HERE } = more;
  return { kind: 'beat', partition: 0, beat: { writer, number, incarnation }, again } satisfies BeatItem;
};

/** Causes of the gaps that show, in order; a gap is closed at once. */
function gapsOf(track: BeatTrack, ...items: readonly BeatItem[]): string[] {
  return items.flatMap(item => track.receive(item, HERE)?.cause ?? []);
}
const run = (writer: string, from: number, to: number): BeatItem[] =>
  Array.from({ length: to - from + 1 }, (_, i) => beat(writer, from + i));

describe('beats that come without a hole', () => {
  test('are none, from 1 on', () => {
    expect(gapsOf(new BeatTrack(), ...run('a', 1, 5))).toEqual([]);
  });

  test('of several writers are counted apart', () => {
    const items = [...run('a', 1, 3), ...run('b', 1, 2), ...run('a', 4, 4), ...run('b', 3, 3)];
    expect(gapsOf(new BeatTrack(), ...items)).toEqual([]);
  });

  test('may come twice, and out of the past', () => {
    expect(gapsOf(new BeatTrack(), ...run('a', 1, 5), ...run('a', 2, 6))).toEqual([]);
  });
});

describe('a beat that is missing', () => {
  test('shows in the next one of its writer', () => {
    const track = new BeatTrack();
    expect(gapsOf(track, ...run('a', 1, 2), ...run('b', 1, 1))).toEqual([]);
    expect(track.receive(beat('a', 4), HERE)).toEqual({
      cause: 'beat-missing',
      detail: 'beat 4 of writer a came after 2',
    });
  });

  test('is told once: the numbers go on behind it', () => {
    expect(gapsOf(new BeatTrack(), beat('a', 1), beat('a', 3), beat('a', 4))).toEqual(['beat-missing']);
  });

  test('shows also where it was the first of its writer', () => {
    expect(gapsOf(new BeatTrack(), beat('a', 2))).toEqual(['beat-missing']);
  });

  test('is not hidden by an older one that comes again behind it', () => {
    expect(gapsOf(new BeatTrack(), ...run('a', 1, 3), beat('a', 2), beat('a', 5))).toEqual(['beat-missing']);
  });
});

describe('what was remembered', () => {
  const settled = (...items: readonly BeatItem[]): string => {
    const track = new BeatTrack();
    for (const item of items) {
      track.receive(item, HERE);
      track.settle(item.beat);
    }
    return track.text();
  };

  test('goes on where it was settled, for each writer', () => {
    const track = new BeatTrack(settled(...run('a', 1, 3), ...run('b', 1, 2)));
    expect(gapsOf(track, beat('a', 4), beat('b', 3))).toEqual([]);
    expect(gapsOf(track, beat('a', 6))).toEqual(['beat-missing']);
  });

  test('is what was settled, not what was received: the rest comes again', () => {
    const first = new BeatTrack();
    for (const item of run('a', 1, 5)) first.receive(item, HERE);
    first.settle(beat('a', 1).beat);
    expect(first.text()).toBe('[["a",1]]');
    const track = new BeatTrack(first.text());
    expect(gapsOf(track, ...run('a', 2, 6))).toEqual([]);
  });

  test('has a hole where the first beat behind it does not come', () => {
    expect(gapsOf(new BeatTrack(settled(...run('a', 1, 3))), beat('a', 5))).toEqual(['beat-missing']);
  });

  test('expects beats before it to come again, in part, of writers it has forgotten as well', () => {
    const track = new BeatTrack(settled(...run('a', 1, 9)));
    const again = [beat('gone', 7, { again: true }), ...run('a', 8, 9).map(one => ({ ...one, again: true }))];
    expect(gapsOf(track, ...again, beat('a', 10))).toEqual([]);
  });

  test('keeps the writers heard of last', () => {
    const track = new BeatTrack();
    for (let writer = 0; writer < 20; writer += 1) track.settle({ ...beat(`w${writer}`, 7).beat });
    track.settle(beat('w13', 8).beat);
    const kept = JSON.parse(track.text()) as [string, number][];
    expect(kept).toHaveLength(8);
    expect(kept.at(-1)).toEqual(['w13', 8]);
    expect(kept.map(([writer]) => writer)).not.toContain('w11');
  });

  test('survives a gap: positions behind it name what was settled', () => {
    const track = new BeatTrack();
    track.forgive();
    track.receive(beat('b', 900), HERE);
    track.settle(beat('b', 900).beat);
    expect(gapsOf(new BeatTrack(track.text()), beat('b', 901))).toEqual([]);
  });
});

describe('behind a gap that was closed', () => {
  /** Followed from a place of which nothing is remembered. */
  const afterGap = (): BeatTrack => {
    const track = new BeatTrack();
    track.forgive();
    return track;
  };

  test('numbers that are known go on: the next hole may be right behind it', () => {
    const track = new BeatTrack('[["a",3]]');
    track.forgive();
    expect(gapsOf(track, beat('a', 4), beat('a', 1000))).toEqual(['beat-missing']);
    track.forgive();
    expect(gapsOf(track, beat('a', 1001), beat('b', 2))).toEqual(['beat-missing']);
  });

  test('two writers that overlap cost one gap at most', () => {
    const track = afterGap();
    let gaps = 0;
    for (let i = 0; i < 20; i += 1) {
      for (const item of [beat('a', 50 + i), beat('b', 10 + i)]) {
        if (!track.receive(item, HERE)) continue;
        gaps += 1;
        track.forgive();
      }
    }
    expect(gaps).toBe(1);
  });

  test('numbers that are not begin wherever they do', () => {
    const track = afterGap();
    expect(gapsOf(track, beat('a', 700), beat('a', 701))).toEqual([]);
    expect(gapsOf(track, beat('a', 703))).toEqual(['beat-missing']);
  });

  test('beats of the life before may come, until the first of this one', () => {
    const track = afterGap();
    const older = (writer: string, number: number) => beat(writer, number, { incarnation: 'another' });
    expect(gapsOf(track, older('a', 700), older('b', 50), beat('c', 1))).toEqual([]);
    expect(gapsOf(track, older('a', 701))).toEqual(['other-incarnation']);
  });

  test('another writer begins at 1 again, once one has been heard', () => {
    const track = afterGap();
    expect(gapsOf(track, beat('a', 700), beat('b', 1), beat('b', 2))).toEqual([]);
    expect(gapsOf(track, beat('c', 2))).toEqual(['beat-missing']);
  });
});

describe('a beat of another life of the database', () => {
  test.each(['another', null])('is a gap: %s', incarnation => {
    expect(gapsOf(new BeatTrack(), beat('a', 1, { incarnation }))).toEqual(['other-incarnation']);
  });

  test('is none where it was settled before', () => {
    const item = beat('a', 1, { incarnation: 'another', again: true });
    expect(gapsOf(new BeatTrack('[["a",3]]'), item)).toEqual([]);
  });
});

test('whatever is lost of a stretch of beats, and comes again, every loss that can show does', () => {
  const lossy = fc.record({
    count: fc.integer({ min: 1, max: 12 }),
    lost: fc.uniqueArray(fc.integer({ min: 1, max: 12 })),
    restarts: fc.uniqueArray(fc.integer({ min: 1, max: 12 })),
  });
  fc.assert(
    fc.property(lossy, ({ count, lost, restarts }) => {
      let track = new BeatTrack();
      const coming = run('a', 1, count).filter(({ beat: { number } }) => !lost.includes(number));
      const found: number[] = [];
      let last = 0;
      for (const item of coming) {
        if (track.receive(item, HERE)) {
          found.push(item.beat.number);
          track.forgive();
          track.receive(item, HERE);
        }
        track.settle(item.beat);
        last = item.beat.number;
        // Another worker goes on from what was remembered, and gets the last one again.
        if (restarts.includes(last)) {
          track = new BeatTrack(track.text());
          expect(track.receive({ ...item, again: true }, HERE)).toBeNull();
        }
      }
      const holes = coming.filter(
        ({ beat: { number } }, i) => number !== (coming[i - 1]?.beat.number ?? 0) + 1,
      );
      expect(found).toEqual(holes.map(one => one.beat.number));
    }),
  );
});
