import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
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

  describe('with another worker in its group', () => {
    let second: Feed;
    /** Both open again; who has the first partition is `feed` from then on. */
    const share = async (): Promise<Taken[]> => {
      const taken = await Promise.all([begin(feed), begin(second)]);
      if (taken[1]!.leads) [feed, second] = [second, feed];
      return taken;
    };

    test('is told that partitions moved, and each has its part: one of them leads', async () => {
      await settle();
      second = world.feed();
      const opening = begin(second);
      expect(await failureOf()).toMatchObject({ code: 'feed-moved', retryable: true });
      const taken = await Promise.all([begin(), opening]);
      expect(taken.map(({ gap }) => gap)).toEqual([null, null]);
      const parts = taken.map(({ positions }) => [...positions.keys()]);
      expect(parts.flat().sort()).toEqual([0, 1]);
      expect(taken.map(({ leads }) => leads)).toEqual(parts.map(part => part.includes(0)));
      if (taken[1]!.leads) [feed, second] = [second, feed];
    });

    test('gets what lies in its partition, and nothing else', async () => {
      const all = ids(1, 40);
      await insert(...all);
      const [mine, theirs] = await Promise.all([everything(feed, 1), everything(second, 1)]);
      // The beat of either is the end of both.
      expect(idsOf(mine).sort((a, b) => a - b)).toEqual(inPartition(0, all));
      expect(idsOf(theirs).sort((a, b) => a - b)).toEqual(inPartition(1, all));
    });

    test('cannot commit for a partition that it has lost', async () => {
      const { admin, names } = world.kafka!;
      await Promise.all([settle(feed, 1), settle(second, 1)]);
      await eventually(
        'both are committed',
        () => admin.committed(names.group, names.topic),
        committed => committed.size === 2,
      );
      const third = world.feed();
      const opening = begin(third);
      // Two partitions for three: whoever had one before may have none, or another one, now.
      const told = await Promise.all([failureOf(feed), failureOf(second)]);
      expect(told).toMatchObject([{ code: 'feed-moved' }, { code: 'feed-moved' }]);
      const before = await admin.committed(names.group, names.topic);
      for (const one of [feed, second]) for (const partition of [0, 1]) one.acknowledge(partition, '999999');
      await third.close();
      opening.catch(() => {});
      expect((await share()).map(({ gap }) => gap)).toEqual([null, null]);
      expect(await admin.committed(names.group, names.topic)).toEqual(before);
    });

    test('takes over what the other one has not settled when that one leaves, at once', async () => {
      const lost = ids(101, 130);
      await insert(...lost);
      await Promise.all([everything(feed, 1), everything(second, 1)]);
      const startMs = performance.now();
      await second.close();
      expect(await failureOf()).toMatchObject({ code: 'feed-moved' });
      const taken = await begin();
      // Not only when the group misses its heart-beat.
      expect(performance.now() - startMs).toBeLessThan(5_000);
      expect({ leads: taken.leads, gap: taken.gap }).toEqual({ leads: true, gap: null });
      expect([...taken.positions.keys()]).toEqual([0, 1]);
      expect(idsOf(await everything())).toEqual(expect.arrayContaining(lost));
      await settle();
    });

    test('waits for its turn where there are more workers than partitions', async () => {
      await settle();
      const others = [world.feed(), world.feed()];
      const opened = new Map<Feed, Taken>();
      const running = new Set<Feed>([feed, ...others]);
      const ending = new AbortController();
      /** Opens again whenever partitions moved, as a worker does. */
      const work = async (one: Feed): Promise<void> => {
        while (!ending.signal.aborted && running.has(one)) {
          opened.set(one, await begin(one));
          await failureOf(one).catch(() => {});
          opened.delete(one);
        }
      };
      await feed.close();
      const working = [...running].map(one => work(one).catch(() => {}));
      const shares = (): number[][] => [...opened.values()].map(({ positions }) => [...positions.keys()]);
      await eventually(
        'two of three have one partition each',
        shares,
        seen => seen.length === 2 && seen.flat().sort().join() === '0,1',
        30_000,
      );
      const [leaving] = opened.keys();
      running.delete(leaving!);
      opened.delete(leaving!);
      await leaving!.close();
      await eventually(
        'the third has its turn',
        shares,
        seen => seen.length === 2 && seen.flat().sort().join() === '0,1',
        30_000,
      );
      expect([...opened.values()].map(({ gap }) => gap)).toEqual([null, null]);
      ending.abort();
      await Promise.all([...running].map(one => one.close()));
      await Promise.all(working);
      expect(await again()).toMatchObject({ gap: null, leads: true });
    }, 90_000);
  });

  describe('whose topic or group is not as it was left', () => {
    test('calls it a gap when the offsets of the group are gone, and goes on with what comes then', async () => {
      const { admin, names } = world.kafka!;
      await settle();
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
      await settle();
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
      await settle();
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
      await settle();
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
      await settle();
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

    test('calls it a gap when a beat lies in another partition than it was meant for', async () => {
      await settle();
      const since = await topic.ends();
      await beatOnce(world, feed);
      await everything();
      const records = await topic.readSince(since);
      const stray = records.find(({ partition }) => partition === 0)!;
      await topic.produce(1, { key: stray.key!.toString(), value: stray.value });
      expect(await failureOf()).toMatchObject({ name: 'GapError', gap: { cause: 'partitions-changed' } });
      await again();
      await settle();
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

    // The last one: the topic stays as it is then.
    test('calls it a gap when the topic was given more partitions, and follows those too', async () => {
      const { brokers, names } = world.kafka!;
      await settle();
      const kafka = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: kafkajs.logLevel.NOTHING });
      const admin = kafka.admin();
      await admin.connect();
      await admin.createPartitions({ topicPartitions: [{ topic: names.topic, count: 3 }] });
      await admin.disconnect();
      expect(await failureOf()).toMatchObject({ name: 'GapError', gap: { cause: 'partitions-changed' } });
      await feed.close();
      await eventually(
        'all three are followed',
        async () => {
          const { positions, gap } = await begin();
          return { partitions: [...positions.keys()], gap: gap?.cause, prefixes: feed.beatPrefixes.length };
        },
        ({ partitions }) => partitions.length === 3,
        30_000,
      );
      expect(feed.partitions).toBe(3);
      expect(feed.beatPrefixes).toHaveLength(3);
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
