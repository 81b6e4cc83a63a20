import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import kafkajs from 'kafkajs';
import type { Feed, FeedItem, Taken } from '../../workers/feed/feed.ts';
import { eventually } from '../support/eventually.ts';
import {
  beatOnce,
  type FeedWorld,
  forgetLeftOver,
  itemsUntil,
  itemsUntilBeat,
  openFeedWorld,
  sendBeat,
} from '../support/feed-world.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { startBroker, startConnect, type TestBroker, type TestConnect } from '../support/kafka-servers.ts';
import { openRawTopic, partitionOfRow, type RawTopic } from '../support/raw-topic.ts';
import { describeFeed } from './feed-contract.ts';

describeFeed('kafka');

const PARTITIONS = 2;
const SCHEMA =
  'create table other (id int primary key); create table bulky (id int primary key, filler text);';
const CLOSE_LIMIT_MS = 60_000;

/** What only a feed can do, or has to, whose partitions are shared and whose log somebody else keeps. */
describe('the kafka feed', () => {
  let world: FeedWorld;
  let topic: RawTopic;
  let feed: Feed;

  beforeAll(async () => {
    world = await openFeedWorld(SCHEMA, { kind: 'kafka', partitions: PARTITIONS });
    topic = await openRawTopic(world.kafka!);
    feed = world.feed();
    await world.open(feed);
  }, kafkaStartLimitMs);
  // Each begins with everything settled, whatever the one before has left.
  beforeEach(async () => {
    await again();
    await settle();
  });
  afterAll(async () => {
    await topic?.close();
    await world?.close();
  }, CLOSE_LIMIT_MS);

  const insert = (...ids: number[]): Promise<unknown> =>
    world.client.query('insert into other select unnest($1::int[])', [ids]);
  const idsOf = (items: readonly FeedItem[]): number[] =>
    items.flatMap(item => (item.kind === 'change' ? [Number(item.change.keyAfter![0])] : []));
  /** Everything until now; a beat in each partition is the end of it. */
  const everything = async (of = feed, partitions = of.partitions): Promise<FeedItem[]> =>
    itemsUntilBeat(of, await beatOnce(world, of), partitions);
  /** Everything until now is settled, and the source has been told. */
  const settle = async (of = feed, partitions?: number): Promise<void> => {
    const items = await everything(of, partitions);
    // A mark of every partition stands behind its beat.
    const marks = await itemsUntil(of, ({ kind }) => kind === 'mark');
    world.settle(of, [...items, ...marks]);
  };
  const begin = async (of = feed): Promise<Taken> => {
    forgetLeftOver(of);
    return world.open(of);
  };
  const again = async (): Promise<Taken> => {
    await feed.close();
    return begin();
  };
  /** Calls `next` until it throws, and says what. */
  const failureOf = async (of = feed): Promise<unknown> => {
    for (const untilMs = performance.now() + 30_000; performance.now() < untilMs; ) {
      try {
        await of.next(100);
      } catch (error) {
        return error;
      }
    }
    throw new Error('it went on as if nothing had happened');
  };
  const ids = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const inPartition = (partition: number, all: readonly number[]): number[] =>
    all.filter(id => partitionOfRow(id, PARTITIONS) === partition);

  test('remembers each partition by itself', () => {
    expect([0, 1].map(partition => feed.recordOf(partition))).toEqual(['kafka:0', 'kafka:1']);
    expect(feed.positionOf(1, '17')).toMatchObject({ topic: world.kafka!.names.topic, offset: '17' });
  });

  describe('with other workers in its group', () => {
    /** Goes on as a worker does: opens again whenever partitions moved. */
    interface Driven {
      readonly feed: Feed;
      readonly items: FeedItem[];
      readonly failures: unknown[];
      /** What it has now; null while it waits for partitions. */
      taken: Taken | null;
      end(): Promise<void>;
    }
    let driven: Driven[] = [];
    const drive = (isSettling = false): Driven => {
      const own = world.feed();
      let isOver = false;
      const one: Driven = { feed: own, items: [], failures: [], taken: null, end: () => end() };
      const work = async (): Promise<void> => {
        while (!isOver) {
          try {
            one.taken = await begin(own);
            while (!isOver) {
              const items = await own.next(100);
              one.items.push(...items);
              if (isSettling) world.settle(own, items);
            }
          } catch (error) {
            one.taken = null;
            if (!isOver) one.failures.push(error);
          }
        }
      };
      const working = work();
      const end = async (): Promise<void> => {
        isOver = true;
        one.taken = null;
        await own.close();
        // Where it waits for partitions, the end of the world ends it.
        await Promise.race([working, eventually('its turn', () => isOver, Boolean)]);
      };
      driven.push(one);
      return one;
    };
    const partsOf = ({ taken }: Driven): number[] => [...(taken?.positions.keys() ?? [])];
    /** Both partitions are followed, by so many workers. */
    const areShared = (by: number): Promise<unknown> =>
      eventually(
        `${by} workers share the partitions`,
        () => driven.map(partsOf),
        parts =>
          parts.flat().sort().join() === '0,1' && parts.filter(({ length }) => length > 0).length === by,
        30_000,
      );
    const seenBy = (one: Driven): Set<number> => new Set(idsOf(one.items));

    beforeEach(() => feed.close());
    afterEach(async () => {
      await Promise.all(driven.map(one => one.end()));
      driven = [];
    });

    test('is told that partitions moved, and each has its part, without a gap: one of them leads', async () => {
      const first = drive();
      await areShared(1);
      const second = drive();
      await areShared(2);
      expect(first.failures[0]).toMatchObject({ code: 'feed-moved', retryable: true });
      for (const one of [first, second]) {
        expect({ leads: one.taken!.leads, gap: one.taken!.gap }).toEqual({
          leads: partsOf(one).includes(0),
          gap: null,
        });
      }
    });

    test('gets what lies in its partition, and nothing else', async () => {
      const pair = [drive(), drive()];
      await areShared(2);
      const all = ids(1, 40);
      await insert(...all);
      await eventually(
        'all of it has come',
        () => pair.flatMap(one => [...seenBy(one)]).sort((a, b) => a - b),
        seen => seen.join() === all.join(),
      );
      for (const one of pair) {
        const [partition] = partsOf(one);
        expect([...seenBy(one)].sort((a, b) => a - b)).toEqual(inPartition(partition!, all));
      }
    });

    test('cannot commit for partitions once they have moved', async () => {
      const { admin, names } = world.kafka!;
      const own = world.feed();
      await begin(own);
      const before = await admin.committed(names.group, names.topic);
      drive();
      expect(await failureOf(own)).toMatchObject({ code: 'feed-moved' });
      expect(() => own.check()).toThrow('handed out anew');
      for (const partition of [0, 1]) own.acknowledge(partition, '999999');
      await own.close();
      await areShared(1);
      expect(await admin.committed(names.group, names.topic)).toEqual(before);
    });

    test('takes over what another one has not settled when that one leaves, at once', async () => {
      const [stays, leaves] = [drive(), drive()];
      await areShared(2);
      const all = ids(101, 130);
      await insert(...all);
      const lost = inPartition(partsOf(leaves)[0]!, all);
      await eventually(
        'the other one has its rows',
        () => lost.filter(id => seenBy(leaves).has(id)).length,
        count => count === lost.length,
      );
      const startMs = performance.now();
      await leaves.end();
      await eventually(
        'they come again',
        () => all.filter(id => seenBy(stays).has(id)).length,
        count => count === all.length,
      );
      // Not only when the group misses its heart-beat.
      expect(performance.now() - startMs).toBeLessThan(5_000);
      expect(stays.taken).toMatchObject({ leads: true, gap: null });
    });

    test('gets nothing again of what another one has settled before it left', async () => {
      const [stays, leaves] = [drive(true), drive(true)];
      await areShared(2);
      const all = ids(131, 160);
      await insert(...all);
      await eventually(
        'all of it has come',
        () => new Set([...seenBy(stays), ...seenBy(leaves)]).size,
        count => count === all.length,
      );
      const theirs = [...seenBy(leaves)];
      expect(theirs.length).toBeGreaterThan(0);
      await leaves.end();
      await areShared(1);
      await insert(161);
      await eventually('it goes on', () => seenBy(stays).has(161), Boolean);
      expect(theirs.filter(id => seenBy(stays).has(id))).toEqual([]);
    });

    test('waits for its turn where there are more workers than partitions', async () => {
      drive();
      drive();
      drive();
      await areShared(2);
      const leaving = driven.find(one => one.taken !== null)!;
      await leaving.end();
      await areShared(2);
      expect(driven.map(({ taken }) => taken?.gap ?? null)).toEqual([null, null, null]);
    });
  });

  describe('whose topic or group is not as it was left', () => {
    test('calls it a gap when the offsets of the group are gone, and goes on with what comes then', async () => {
      const { admin, names } = world.kafka!;
      await feed.close();
      await admin.deleteGroup(names.group);
      await insert(201);
      await eventually(
        'it is published',
        () => topic.grownBy(new Map()),
        size => size > 0,
      );
      expect(await begin()).toMatchObject({ gap: { cause: 'offset-missing' } });
      await insert(202);
      expect(idsOf(await everything())).toContain(202);
      await settle();
      expect(await again()).toMatchObject({ gap: null });
    });

    test('calls it a gap when the group was moved ahead of what was settled', async () => {
      await insert(...ids(211, 220));
      await everything();
      await feed.close();
      await topic.moveGroup(await topic.ends());
      expect(await begin()).toMatchObject({ gap: { cause: 'offset-ahead' } });
      await settle();
    });

    test('delivers again, without a gap, when the group was moved back', async () => {
      const before = await topic.ends();
      await insert(...ids(221, 230));
      const settled = await beatOnce(world, feed);
      const items = await itemsUntilBeat(feed, settled);
      world.settle(feed, [...items, ...(await itemsUntil(feed, ({ kind }) => kind === 'mark'))]);
      await settle();
      await feed.close();
      await topic.moveGroup(before);
      expect(await begin()).toMatchObject({ gap: null });
      const found = await everything();
      expect(idsOf(found).sort()).toEqual(ids(221, 230));
      const agains = found.flatMap(item =>
        item.kind === 'beat' && item.beat.writer === settled ? [item.again] : [],
      );
      expect(agains).toEqual([true, true]);
      await settle();
    });

    test('calls it a gap when records were deleted before they were read', async () => {
      const { admin, names } = world.kafka!;
      await feed.close();
      const before = await topic.ends();
      await insert(...ids(231, 240));
      await eventually(
        'they are published',
        () => topic.grownBy(before),
        size => size >= 10,
      );
      for (const [partition, end] of await topic.ends())
        await admin.deleteRecords(names.topic, partition, end);
      expect(await begin()).toMatchObject({ gap: { cause: 'offset-out-of-range' } });
      await insert(241);
      expect(idsOf(await everything())).toEqual([241]);
      await settle();
    });

    test('is not silent when records are deleted under a consumer that is behind', async () => {
      const { admin, names } = world.kafka!;
      // More than it keeps: it stops fetching, and what it has not fetched goes.
      const before = await topic.ends();
      const rows = 60_000;
      await world.client.query(
        `insert into bulky select n, repeat('x', 1000) from generate_series(1, ${rows}) n`,
      );
      await eventually(
        'they are published',
        () => topic.grownBy(before),
        size => size >= rows,
        60_000,
      );
      for (const [partition, end] of await topic.ends())
        await admin.deleteRecords(names.topic, partition, end);
      let isOver = false;
      const beating = (async () => {
        for (let number = 1; !isOver; number += 1) {
          await sendBeat(world, feed, 'goes on', number);
          await eventually(
            'a moment',
            () => performance.now(),
            () => true,
          );
        }
      })();
      const error = await failureOf();
      isOver = true;
      await beating;
      expect(error).toMatchObject({ name: 'GapError', gap: { cause: 'offset-out-of-range' } });
      await again();
      await settle();
    }, 90_000);

    test('says what it cannot read of what others have put there, where it lies, and goes on', async () => {
      const offset = await topic.produce(1, { value: 'not even JSON' });
      await topic.produce(0, { value: null });
      await topic.produce(1, {
        value: JSON.stringify({ op: 'u', source: { connector: 'mysql', name: 'else' } }),
      });
      await insert(...ids(251, 260));
      const found = await everything();
      const unreadable = found.filter(item => item.kind === 'unreadable');
      expect(unreadable.map(({ place }) => place)).toEqual([
        `${world.kafka!.names.topic}/1@${offset}`,
        `${world.kafka!.names.topic}/1@${offset + 1n}`,
      ]);
      expect(unreadable.map(({ partition, table, xid }) => ({ partition, table, xid }))).toEqual(
        Array(2).fill({ partition: 1, table: null, xid: null }),
      );
      expect(idsOf(found).sort()).toEqual(ids(251, 260));
    });

    test('waits for a topic that is not there, and says how it is made', async () => {
      const lost = world.feed('nobody_made_this');
      await expect(world.open(lost)).rejects.toMatchObject({
        code: 'topic-missing',
        retryable: true,
        message: expect.stringContaining('freshet_nobody_made_this.changes'),
        hint: expect.stringContaining('freshet connector register'),
      });
    });

    test('goes on over a beat in another partition than it was meant for, which says nothing', async () => {
      const since = await topic.ends();
      const writer = await beatOnce(world, feed);
      await everything();
      const records = await topic.readSince(since);
      const stray = records.find(({ partition }) => partition === 0)!;
      await topic.produce(1, { key: stray.key!.toString(), value: stray.value });
      await insert(271);
      const found = await everything();
      expect(idsOf(found)).toEqual([271]);
      expect(found.some(item => item.kind === 'beat' && item.beat.writer === writer)).toBe(false);
    });

    // The last one: the topic stays as it is then.
    test('calls it a gap when the topic was given more partitions, and follows those too', async () => {
      const { brokers, names, connect } = world.kafka!;
      const [, old] = feed.beatPrefixes;
      const kafka = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: kafkajs.logLevel.NOTHING });
      const admin = kafka.admin();
      await admin.connect();
      await admin.createPartitions({ topicPartitions: [{ topic: names.topic, count: 3 }] });
      await admin.disconnect();
      // A producer that has not noticed yet may not notice for minutes.
      await connect.restart(names.connector);
      await eventually(
        'the connector runs again',
        () => connect.state(names.connector),
        state => state?.task === 'RUNNING',
        30_000,
      );
      const since = await topic.ends();
      const beat = JSON.stringify({ writer: 'by the old prefix', number: 1, namespace: world.namespace });
      await world.client.query('select pg_logical_emit_message(false, $1, $2, true)', [old, beat]);
      await eventually(
        'it is published',
        () => topic.grownBy(since),
        size => size > 0,
        30_000,
      );
      expect(await failureOf()).toMatchObject({ name: 'GapError', gap: { cause: 'partitions-changed' } });
      await feed.close();
      const { positions } = await begin();
      expect([...positions.keys()]).toEqual([0, 1, 2]);
      expect([feed.partitions, feed.beatPrefixes.length]).toEqual([3, 3]);
      await insert(...ids(281, 300));
      expect(idsOf(await everything())).toEqual(expect.arrayContaining(ids(281, 300)));
    }, 90_000);
  });
});

describe('the kafka feed, whose broker is killed,', () => {
  let broker: TestBroker;
  let connect: TestConnect;
  let world: FeedWorld;
  let feed: Feed;

  beforeAll(async () => {
    broker = await startBroker();
    connect = await startConnect(broker);
    world = await openFeedWorld(SCHEMA, {
      kind: 'kafka',
      partitions: PARTITIONS,
      chain: { brokers: broker.brokers, connectUrl: connect.url },
    });
    feed = world.feed();
    await world.open(feed);
  }, kafkaStartLimitMs);
  afterAll(async () => {
    await world?.close();
    await connect?.stop();
    await broker?.stop();
  }, CLOSE_LIMIT_MS);

  test('goes on when it is back, without a gap and without a loss', async () => {
    const first = await itemsUntilBeat(feed, await beatOnce(world, feed));
    world.settle(feed, [...first, ...(await itemsUntil(feed, ({ kind }) => kind === 'mark'))]);
    const seen = new Set<number>();
    const gaps: unknown[] = [];
    let isOver = false;
    /** As a worker does: whatever goes wrong, it opens again; nothing is settled meanwhile. */
    const working = (async () => {
      while (!isOver) {
        try {
          for (const item of await feed.next(100))
            if (item.kind === 'change') seen.add(Number(item.change.keyAfter![0]));
        } catch {
          await feed.close();
          await world.open(feed).then(
            ({ gap }) => gap && gaps.push(gap),
            () => {},
          );
        }
      }
    })();
    const insert = (from: number): Promise<unknown> =>
      world.client.query(`insert into other select generate_series(${from}, ${from + 49})`);
    const sees = (count: number): Promise<unknown> =>
      eventually(
        `${count} rows have come`,
        () => seen.size,
        size => size === count,
        60_000,
      );
    await insert(1);
    await sees(50);
    await broker.kill();
    await insert(51);
    await broker.restart();
    await insert(101);
    await sees(150);
    isOver = true;
    await working;
    expect(gaps).toEqual([]);
  }, 120_000);
});
