import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Feed } from '../../workers/feed/feed.ts';
import { readSlot } from '../../workers/feed/slot.ts';
import { eventually } from '../support/eventually.ts';
import {
  beatOnce,
  changesOf,
  type FeedWorld,
  forgetLeftOver,
  itemsUntil,
  itemsUntilBeat,
  openFeedWorld,
} from '../support/feed-world.ts';
import { describeFeed } from './feed-contract.ts';

describeFeed('wal');

const SCHEMA = `
  create type mood as enum ('sad', 'glad');
  create table typed (id uuid primary key, at timestamptz, flag boolean, feeling mood, money numeric, raw bytea,
                      ratio float8, list text[], doc jsonb, span interval);
  create table other (id int primary key);
`;

/** What only a feed that reads the log itself can do, or has to. */
describe('the wal feed', () => {
  let world: FeedWorld;
  let feed: Feed;

  beforeAll(async () => {
    world = await openFeedWorld(SCHEMA);
    feed = world.feed();
    await world.open(feed);
  });
  afterAll(() => world?.close());

  const insert = (...ids: number[]): Promise<unknown> =>
    world.client.query('insert into other select unnest($1::int[])', [ids]);
  const until = (id: number) =>
    itemsUntil(feed, item => item.kind === 'change' && item.change.keyAfter?.[0] === String(id));
  const slotNow = () => readSlot(world.pool, world.slot);

  test('has one partition, and one message reaches it', () => {
    expect([feed.partitions, feed.beatPrefixes, feed.recordOf(0)]).toEqual([1, ['freshet.beat.0'], 'wal']);
  });

  test('brings values of every type as Postgres prints them', async () => {
    const id = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
    const [change] = await changesOf(world, feed, () =>
      world.client.query(
        `insert into typed values ('${id}', '2026-11-21 12:00:00.123456+02', true, 'glad', 12345678901234567890.10,
           '\\xdead', 0.1, '{a,null,"b c"}', '{"a": 1.0}', '1 day 2 hours')`,
      ),
    );
    expect(change!.after).toEqual({
      id,
      at: '2026-11-21 10:00:00.123456+00',
      flag: 't',
      feeling: 'glad',
      money: '12345678901234567890.10',
      raw: '\\xdead',
      ratio: '0.1',
      list: '{a,NULL,"b c"}',
      doc: '{"a": 1.0}',
      span: 'P1DT2H',
    });
  });

  test('moves its slot no further than what was acknowledged, while keep-alives are answered', async () => {
    const before = await slotNow();
    await insert(...Array.from({ length: 1_001 }, (_, i) => 1_000 + i));
    await until(2_000);
    // Two status messages have certainly been sent once the server has seen two replies.
    const replies = async (): Promise<string> => {
      const { rows } = await world.pool.query(
        `select reply_time::text as at from pg_stat_replication where application_name = 'freshet wal feed' and pid =
           (select active_pid from pg_replication_slots where slot_name = $1)`,
        [world.slot],
      );
      return String(rows[0]?.at);
    };
    let last = await replies();
    for (let i = 0; i < 2; i += 1) last = await eventually('a reply', replies, at => at !== last);
    expect((await slotNow())?.confirmedLsn).toBe(before?.confirmedLsn);
  });

  test('tells when its connection is lost, and opens again without a gap', async () => {
    world.settle(feed, await itemsUntilBeat(feed, await beatOnce(world, feed)));
    const { activePid } = (await slotNow())!;
    const lost = itemsUntil(feed, () => false);
    await world.pool.query('select pg_terminate_backend($1)', [activePid]);
    await expect(lost).rejects.toMatchObject({ code: 'feed-lost', retryable: true });
    expect(() => feed.check()).toThrow('ended');
    await insert(3_000);
    await eventually('the slot is free', slotNow, slot => slot?.activePid === null);
    forgetLeftOver(feed);
    expect(await world.open(feed)).toMatchObject({ gap: null });
    await until(3_000);
  });

  test('stands by while another worker holds the slot, and takes over where that one stopped', async () => {
    const second = world.feed();
    let isOpen = false;
    const opening = world.open(second).then(taken => {
      isOpen = true;
      return taken;
    });
    await insert(5_000);
    world.settle(feed, await until(5_000));
    await insert(5_001);
    await until(5_001);
    expect(isOpen).toBe(false);
    await feed.close();
    expect(await opening).toMatchObject({ leads: true, gap: null });
    feed = second;
    const items = await until(5_001);
    expect(items.flatMap(item => (item.kind === 'change' ? item.change.keyAfter : []))).not.toContain('1000');
  });

  test('makes the slot anew where it is gone, and calls that a gap', async () => {
    await feed.close();
    await world.pool.query('select pg_drop_replication_slot($1)', [world.slot]);
    await insert(6_000);
    expect(await world.open(feed)).toMatchObject({ gap: { cause: 'slot-missing' } });
    await insert(6_001);
    const items = await until(6_001);
    expect(items.some(item => item.kind === 'change' && item.change.keyAfter?.[0] === '6000')).toBe(false);
  });
});
