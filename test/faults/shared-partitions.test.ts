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
    crew.log.give({ leader: [0, 1] });
    leader = await crew.worker('leader');
    await crew.proven();
    await Promise.all([settles(0), settles(1)]);
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
    const from = crew.log.lengthOf(partition);
    await eventually(
      `partition ${partition} is settled up to ${from}`,
      () => {
        // A position is remembered now and then, with the next round: something has to go on.
        crew.log.append(partition, { kind: 'foreign' });
        return crew.log.committed.get(partition) ?? 0;
      },
      offset => offset >= from,
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
      await crew.listened();
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
        await crew.listened();
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
      await eventually(
        'the member tells',
        () => gaps(member.observer),
        causes => causes.length === 1,
      );
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
      const goOn = await crew.log.stall('leader');
      const number = await loseBeats(1);
      await eventually(
        'the member tells',
        () => gaps(member.observer),
        causes => causes.length === 1,
      );
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
        const ordered = await crew.world.store.newEpoch(null, []);
        await crew.beat();
        const opened = await eventually('the leader waits', crew.epoch, epoch => epoch !== ordered);
        // What is lost from now on may be of a transaction that begins behind the barrier.
        const later = await holdTransaction(crew.world.database.url);
        await loseBeats(1);
        await eventually('the member tells', crew.epoch, epoch => epoch !== opened);
        await held.commit();
        await eventually(
          'the leader begins again',
          () => gaps(leader.observer),
          causes => causes.length === 3,
        );
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
      const goOn = await crew.log.stall('leader');
      await loseBeats(1);
      await eventually(
        'it is forgotten',
        () => position(1),
        seen => seen === null,
      );
      goOn();
      await crew.proven();
      await settles(1);
      expect(await position(1)).toMatchObject({ owner: 'member', epoch: await crew.epoch() });
    });
  });

  describe('and hand one over', () => {
    test('go on under the same epoch, and lose nothing on the way', async () => {
      const before = await crew.epoch();
      await crew.fill(1);
      await settles(1);
      const goOn = await crew.log.stall('member');
      await crew.update(1, 'while it moves', 1);
      crew.log.give({ leader: [0, 1] });
      await eventually(
        'the change came',
        () => cached(1),
        entry => entry === null,
      );
      goOn();
      await crew.proven();
      crew.log.give({ leader: [0], member: [1] });
      await crew.fill(1);
      await crew.update(1, 'and back', 1);
      await eventually(
        'the change came',
        () => cached(1),
        entry => entry === null,
      );
      await crew.proven();
      expect(await crew.epoch()).toBe(before);
      expect([gaps(leader.observer), gaps(member.observer)]).toEqual([['first-start'], []]);
    });

    test('take no position from the one that had it before and was only held up', async () => {
      await settles(1);
      const remembered = performance.now();
      // Positions are remembered so often and no oftener.
      await eventually(
        'one may be remembered again',
        () => performance.now() - remembered,
        ms => ms > 300,
      );
      const held = member.questions.holdNext();
      crew.log.append(1, { kind: 'foreign' });
      await held.answered;
      crew.log.give({ leader: [0, 1] });
      await crew.update(1, 'meanwhile', 1);
      await settles(1);
      expect((await position(1))!.owner).toBe('leader');
      const opened = member.observer.of('feed.lost').length;
      held.release();
      await crew.proven();
      expect((await position(1))!.owner).toBe('leader');
      // It does not leave the others for it: the source says by itself that the partition has moved.
      expect(member.observer.of('feed.lost')).toHaveLength(opened);
      expect(gaps(member.observer)).toEqual([]);
    });

    test('lead where the leader was: under its epoch, without a gap', async () => {
      const before = await crew.epoch();
      await settles(0);
      await leader.stop();
      crew.log.give({ member: [0, 1] });
      await crew.proven();
      expect(await crew.epoch()).toBe(before);
      expect(gaps(member.observer)).toEqual([]);
      expect((await crew.world.store.control())!.worker).toBe('member');
    });

    test('close a gap that the leader has left open', async () => {
      await settles(0);
      const held = await holdTransaction(crew.world.database.url);
      const ordered = await crew.world.store.newEpoch(null, []);
      await crew.beat();
      await eventually('the leader waits', crew.epoch, epoch => epoch !== ordered);
      const left = leader.stop();
      crew.log.give({ member: [0, 1] });
      await eventually(
        'the other one closes it',
        () => gaps(member.observer),
        causes => causes.length === 1,
      );
      expect(await closed()).toBe(false);
      await held.commit();
      await held.end();
      await left;
      await crew.proven();
      expect(await closed()).toBe(true);
      expect(gaps(member.observer)).toHaveLength(1);
    });

    test('are not led by one that was held up while another one closed a gap', async () => {
      await settles(0);
      const held = await holdTransaction(crew.world.database.url);
      const ordered = await crew.world.store.newEpoch(null, []);
      await crew.beat();
      await eventually('the leader waits', crew.epoch, epoch => epoch !== ordered);
      crew.log.give({ member: [0, 1] });
      await eventually(
        'the other one waits too',
        () => gaps(member.observer),
        causes => causes.length === 1,
      );
      await held.commit();
      await held.end();
      await eventually(
        'the one before is told that it leads no more',
        () => leader.observer.of('feed.lost').map(({ error }) => (error as { code?: string }).code),
        codes => codes.includes('superseded'),
      );
      await crew.proven();
      expect(await crew.world.store.control()).toMatchObject({ worker: 'member', isClosed: true });
      expect(leader.observer.of('gap.closed')).toHaveLength(1);
      expect(member.observer.of('gap.closed')).toHaveLength(1);
      await crew.fill(1);
      await crew.update(1, 'by the new leader', 0);
      await eventually(
        'the change came',
        () => cached(1),
        entry => entry === null,
      );
    });
  });

  describe('and of which a member', () => {
    const generation = async () => (await crew.world.store.control())!.tables.get('users')!;

    test('reads a TRUNCATE, cache the table again at once', async () => {
      await crew.fill(1);
      const before = await generation();
      const { rows } = await crew.world.database.query(
        'update users set name = name where id = 2 returning pg_current_xact_id()::text as xid',
      );
      const change = { ...truncated, xid: BigInt((rows[0] as { xid: string }).xid) };
      crew.log.append(1, { kind: 'change', change });
      await eventually(
        'the entry is gone',
        () => cached(1),
        entry => entry === null,
      );
      const after = await generation();
      expect(after.digest).toBe(before.digest);
      await crew.proven();
      expect(raised(member.observer)).toEqual(['truncate']);
      await crew.fill(1);
    });

    test('cannot read something, put every table in doubt', async () => {
      await crew.fill(1);
      crew.log.append(1, { kind: 'unreadable', table: null, xid: null });
      await eventually(
        'the entry is gone',
        () => cached(1),
        entry => entry === null,
      );
      await crew.proven();
      expect(raised(member.observer)).toEqual(['unreadable']);
      const { rows } = await crew.world.database.query('select place, cause from freshet.dead_letter');
      expect(rows).toEqual([
        { place: expect.stringMatching(/^shared\/1@\d+$/), cause: 'TypeError: unreadable' },
      ]);
    });

    test('has read changes by an older definition, put the table in doubt', async () => {
      const goOn = await crew.log.stall('member');
      const before = await generation();
      await crew.world.database.query('alter table users add column more int');
      await eventually(
        'the leader has followed',
        async () => {
          crew.log.append(0, { kind: 'foreign' });
          return generation();
        },
        ({ digest }) => digest !== null && digest !== before.digest,
      );
      await crew.fill(1);
      // Under a key that is not the row's any more: what such a definition makes of it.
      await crew.update(1, 'changed', 1, 'no such key');
      goOn();
      await eventually(
        'the entry is gone',
        () => cached(1),
        entry => entry === null,
      );
      await crew.proven();
      expect(raised(member.observer)).toContain('definition');
      await crew.fill(1);
      await crew.update(1, 'again', 1);
      await eventually(
        'the change came',
        () => cached(1),
        entry => entry === null,
      );
      expect(raised(member.observer)).toHaveLength(1);
    });

    test('is held for its definition while a gap is closed, is cached again afterwards', async () => {
      const held = await holdTransaction(crew.world.database.url);
      await crew.world.database.query('alter table users add column more int');
      await eventually(
        'the table is held',
        async () => {
          crew.log.append(0, { kind: 'foreign' });
          return generation();
        },
        ({ digest }) => digest === null,
      );
      const ordered = await crew.world.store.newEpoch(null, []);
      await crew.beat();
      await eventually('the leader waits', crew.epoch, epoch => epoch !== ordered);
      await held.commit();
      await held.end();
      await crew.proven();
      await crew.fill(1);
    });

    test('is in another life of the database, settle nothing until the leader has closed that gap', async () => {
      await settles(1);
      const goOn = await crew.log.stall('leader');
      await crew.world.database.query(`update freshet.alive set incarnation = gen_random_uuid()`);
      const before = await position(1);
      const number = await crew.beat();
      await crew.update(1, 'changed', 1);
      await eventually(
        'the member waits for the leader',
        () => member.observer.of('feed.lost').map(({ error }) => (error as { code?: string }).code),
        codes => codes.includes('gap-open'),
      );
      expect(await position(1)).toMatchObject({ offset: before!.offset });
      expect(await settledOn(1)).toBeLessThan(number);
      expect(gaps(member.observer)).toEqual([]);
      goOn();
      await crew.proven();
      expect(gaps(leader.observer)).toEqual(['first-start', 'other-incarnation']);
      expect(await closed()).toBe(true);
    });
  });
});

const truncated = {
  op: 'truncate',
  table: 'users',
  lsn: 0n,
  committedMs: 0,
  keyBefore: null,
  keyAfter: null,
  before: null,
  after: null,
} as const;
