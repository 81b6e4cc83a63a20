import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Crew, type CrewWorker, openCrew } from '../support/crew.ts';
import { eventually } from '../support/eventually.ts';
import { holdTransaction } from '../support/held-transaction.ts';
import type { RecordingObserver } from '../support/recording-observer.ts';

/**
 * Several workers share the partitions of one source. The one that has partition 0 leads; the others are members.
 * The log is in memory, so that a test may put anything into it and move partitions at any moment; workers,
 * database and cache are real.
 */
describe('workers that share partitions', () => {
  let crew: Crew;
  let leader: CrewWorker;
  let member: CrewWorker;

  beforeEach(async () => {
    crew = await openCrew(2);
    crew.log.give({ leader: [0] });
    leader = await crew.worker('leader');
    await eventually('the first gap is closed', closed, isClosed => isClosed);
    crew.log.give({ leader: [0], member: [1] });
    member = await crew.worker('member');
    await crew.proven();
  });
  afterEach(() => crew?.close());

  const closed = async (): Promise<boolean> => (await crew.world.store.control())?.isClosed ?? false;
  const position = (partition: number) => crew.world.store.positions.read(`shared:${partition}`);
  const gaps = ({ of }: RecordingObserver): string[] => of('gap.opened').map(({ cause }) => cause);
  const raised = ({ of }: RecordingObserver): string[] => of('generation.raised').map(({ cause }) => cause);
  const hears = (number: number): Promise<unknown> =>
    eventually(
      `beat ${number} comes back`,
      () => crew.heard.map(Number),
      numbers => numbers.includes(number),
    );
  /** Everything that lies in the partition now is settled. */
  const settles = async (partition: number): Promise<void> => {
    const from = crew.log.committed.get(partition) ?? 0;
    await crew.beat(partition);
    await eventually(
      `partition ${partition} is settled`,
      () => crew.log.committed.get(partition) ?? 0,
      offset => offset > from,
    );
  };
  const cached = async (id: number): Promise<unknown> =>
    Object.values(await crew.world.cached(id))[0] ?? null;
  /** Beats of a partition that were never there are as good as lost ones. */
  const loseBeats = (partition: number): Promise<number> => crew.beat(1 - partition).then(() => crew.beat());

  describe('prove', () => {
    test('nothing before every partition has settled the beat', async () => {
      const number = await crew.beat(0);
      await settlesThrough(0, number);
      await crew.update(1, 'changed', 1);
      expect(crew.heard.map(Number)).not.toContain(number);
      // The rest of the same beat: as one that comes later through a slower partition.
      const { rows } = await crew.world.database.query('select incarnation::text from freshet.alive');
      const { incarnation } = rows[0] as { incarnation: string };
      crew.log.append(1, { kind: 'beat', writer: 'the test', number, incarnation });
      await hears(number);
      expect(await cached(1)).toBeNull();
    });

    test('nothing while a gap is open, on no partition', async () => {
      const held = await holdTransaction(crew.world.database.url);
      try {
        await crew.world.store.newEpoch(null, []);
        const before = await crew.epoch();
        const number = await crew.beat();
        await eventually('the leader has noticed', crew.epoch, epoch => epoch !== before);
        await settles(1);
        expect(await settledOn(1)).toBeLessThan(number);
        expect(crew.heard.map(Number)).not.toContain(number);
        await held.commit();
        await crew.proven();
        expect(await closed()).toBe(true);
      } finally {
        await held.end();
      }
    });
  });

  /** The highest beat that has counted as settled on a partition. */
  const settledOn = async (partition: number): Promise<number> => {
    const { connection, keys } = crew.world.store;
    const text = await connection.call('HGET', keys.beat('the test'), `p:${partition}`);
    return Number(text ?? 0);
  };
  const settlesThrough = (partition: number, number: number): Promise<unknown> =>
    eventually(
      `beat ${number} is settled on partition ${partition}`,
      () => settledOn(partition),
      settled => settled >= number,
    );

  describe('and of which a member notices a gap', () => {
    test('lose the cache, and the leader closes the gap', async () => {
      await crew.fill(1);
      const before = await crew.epoch();
      await loseBeats(1);
      await eventually('the member tells', () => gaps(member.observer), causes => causes.length === 1);
      expect(gaps(member.observer)).toEqual(['beat-missing']);
      expect(await cached(1)).toBeNull();
      await crew.proven();
      expect(gaps(leader.observer)).toEqual(['first-start', 'ordered']);
      expect(member.observer.of('gap.closed')).toEqual([]);
      expect(await closed()).toBe(true);
      expect(await crew.epoch()).not.toBe(before);
      await crew.fill(1);
    });

    test('prove nothing of what came behind it until the leader has closed it', async () => {
      const goOn = crew.log.stall('leader');
      const number = await loseBeats(1);
      await eventually('the member tells', () => gaps(member.observer), causes => causes.length === 1);
      await settles(1);
      expect(await settledOn(1)).toBeLessThan(number);
      expect(await closed()).toBe(false);
      goOn();
      await crew.proven();
      expect(await closed()).toBe(true);
    });

    test('do not close it with another one whose barrier had begun before', async () => {
      const held = await holdTransaction(crew.world.database.url);
      try {
        await crew.world.store.newEpoch(null, []);
        await crew.beat(0);
        await eventually('the leader waits', () => gaps(leader.observer), causes => causes.length === 2);
        const first = await eventually('its first epoch', crew.epoch, async () => !(await closed()));
        // What was lost now may be of a transaction that began behind the barrier.
        const later = await holdTransaction(crew.world.database.url);
        await loseBeats(1);
        await eventually('the member tells', crew.epoch, epoch => epoch !== first);
        await held.commit();
        await eventually('the leader begins again', () => gaps(leader.observer), causes => causes.length === 3);
        expect(await closed()).toBe(false);
        await later.commit();
        await later.end();
        await crew.proven();
        expect(await closed()).toBe(true);
        expect(leader.observer.of('gap.closed')).toHaveLength(2);
      } finally {
        await held.end();
      }
    });

    test('forget how far its partitions were followed, until something is settled behind it', async () => {
      await settles(1);
      expect(await position(1)).not.toBeNull();
      const goOn = crew.log.stall('leader');
      await loseBeats(1);
      await eventually('it is forgotten', () => position(1), seen => seen === null || seen.epoch !== '');
      goOn();
      await crew.proven();
      await eventually('it is remembered anew', () => position(1), seen => seen?.owner === 'member');
    });
  });
});
