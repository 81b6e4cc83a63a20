import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Change } from '../../workers/feed/feed.ts';
import { parseLsn } from '../../workers/feed/lsn.ts';
import { readSlot } from '../../workers/feed/slot.ts';
import type { WalFeed } from '../../workers/feed/wal-feed.ts';
import { eventually } from '../support/eventually.ts';
import { changesOf, type FeedWorld, itemsUntil, openFeedWorld } from '../support/feed-world.ts';

const SCHEMA = `
  create type mood as enum ('sad', 'glad');
  create table plain (id bigint primary key, name text, note text);
  create table wide (id int primary key, small text, big text);
  alter table wide alter column big set storage external;
  create table full_identity (id int primary key, team int, big text);
  alter table full_identity replica identity full;
  alter table full_identity alter column big set storage external;
  create table composite (note text, b text, a date, primary key (a, b));
  create table typed (id uuid primary key, at timestamptz, flag boolean, feeling mood, money numeric, raw bytea);
  create table other (id int primary key);
  create table keyless (id int);
  create table parts (id int, region text, primary key (id, region)) partition by list (region);
  create table parts_eu partition of parts for values in ('eu');
  create table parts_us partition of parts for values in ('us');
  create schema billing;
  create table billing.invoices (id int primary key, total numeric);
`;

/** What matters of a change, without what differs from run to run. */
const core = ({ op, table, keyBefore, keyAfter, before, after }: Change) => ({
  op,
  table,
  keyBefore,
  keyAfter,
  before,
  after,
});

describe('the wal feed', () => {
  let world: FeedWorld;
  let feed: WalFeed;
  const changes = (...statements: string[]): Promise<Change[]> =>
    changesOf(world, feed, async () => {
      for (const statement of statements) await world.client.query(statement);
    });

  beforeAll(async () => {
    world = await openFeedWorld(SCHEMA);
    feed = world.feed();
    expect(await feed.open({ remembered: async () => null })).toMatchObject({
      gap: { cause: 'first-start' },
    });
  });
  afterAll(() => world?.close());

  test('brings an insert with its key and its image, exact beyond 2^53', async () => {
    const [change] = await changes(`insert into plain values (9007199254740993, 'a', null)`);
    expect(core(change!)).toEqual({
      op: 'insert',
      table: 'plain',
      keyBefore: null,
      keyAfter: ['9007199254740993'],
      before: null,
      after: { id: '9007199254740993', name: 'a', note: null },
    });
  });

  test('brings the 64-bit transaction id, the commit time and a place in the log', async () => {
    const startMs = Date.now();
    await world.client.query('begin');
    const { rows } = await world.client.query(
      `select pg_current_xact_id()::text as xid, pg_current_wal_insert_lsn()::text as lsn`,
    );
    const found = await changes(`insert into plain values (2, 'b', 'c')`, 'commit');
    expect(found).toHaveLength(1);
    expect(found[0]!.xid).toBe(BigInt(rows[0].xid));
    expect(found[0]!.lsn).toBeGreaterThanOrEqual(parseLsn(rows[0].lsn));
    expect(found[0]!.committedMs).toBeGreaterThanOrEqual(startMs - 1);
    expect(found[0]!.committedMs).toBeLessThanOrEqual(Date.now() + 1);
  });

  test('brings an update without an image before where the identity gives none', async () => {
    const [change] = await changes(`update plain set name = 'B' where id = 2`);
    expect(core(change!)).toMatchObject({
      op: 'update',
      keyBefore: null,
      keyAfter: ['2'],
      before: null,
      after: { id: '2', name: 'B', note: 'c' },
    });
  });

  test('brings both keys of a key change', async () => {
    const [change] = await changes('update plain set id = 3 where id = 2');
    expect(core(change!)).toMatchObject({
      op: 'update',
      keyBefore: ['2'],
      keyAfter: ['3'],
      before: { id: '2' },
    });
  });

  test('brings a delete with the key, and with the whole row where the identity is full', async () => {
    const [short] = await changes('delete from plain where id = 3');
    expect(core(short!)).toEqual({
      op: 'delete',
      table: 'plain',
      keyBefore: ['3'],
      keyAfter: null,
      before: { id: '3' },
      after: null,
    });
    const found = await changes(`insert into full_identity values (1, 7, 'x')`, 'delete from full_identity');
    expect(core(found[1]!)).toMatchObject({
      op: 'delete',
      keyBefore: ['1'],
      before: { id: '1', team: '7', big: 'x' },
    });
  });

  test('leaves an out-of-line value that did not change out of the image, instead of calling it null', async () => {
    const big = 'x'.repeat(20_000);
    const found = await changes(`insert into wide values (1, 'a', '${big}')`, `update wide set small = 'b'`);
    expect(found[0]!.after!.big).toBe(big);
    expect(found[1]!.after).toEqual({ id: '1', small: 'b' });
    const full = await changes(
      `insert into full_identity values (2, 7, '${big}')`,
      'update full_identity set team = 8',
    );
    expect(full[1]!.before).toEqual({ id: '2', team: '7', big });
    expect(full[1]!.after).toEqual({ id: '2', team: '8' });
  });

  test('brings composite keys in the order of the primary key', async () => {
    const [change] = await changes(`insert into composite values ('n', 'x,y', '2026-11-21')`);
    expect(change!.keyAfter).toEqual(['2026-11-21', 'x,y']);
  });

  test('brings values of every kind as Postgres prints them', async () => {
    const id = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
    const [change] = await changes(
      `insert into typed values ('${id}', '2026-11-21 12:00:00.123456+02', true, 'glad', 12345678901234567890.10, '\\xdead')`,
    );
    expect(change!.after).toEqual({
      id,
      at: '2026-11-21 10:00:00.123456+00',
      flag: 't',
      feeling: 'glad',
      money: '12345678901234567890.10',
      raw: '\\xdead',
    });
  });

  test('brings a truncate once for each table', async () => {
    const found = await changes('truncate plain, composite');
    expect(found.map(({ op, table }) => `${op} ${table}`).sort()).toEqual([
      'truncate composite',
      'truncate plain',
    ]);
  });

  test('brings changes of partitions under the name of their table, and of other schemas under theirs', async () => {
    const found = await changes(
      `insert into parts values (1, 'eu')`,
      `update parts set region = 'us'`,
      'insert into billing.invoices values (1, 2.50)',
    );
    expect(found.map(({ op, table }) => `${op} ${table}`)).toEqual([
      'insert parts',
      // A row that moves to another partition is deleted there and inserted here.
      'delete parts',
      'insert parts',
      'insert billing.invoices',
    ]);
  });

  test('passes over tables that are not served, and rolled back work', async () => {
    const found = await changes(
      'insert into keyless values (1)',
      'begin',
      'insert into other values (1)',
      'rollback',
      'begin',
      'savepoint s',
      'insert into other values (2)',
      'rollback to s',
      'insert into other values (3)',
      'commit',
    );
    expect(found.map(({ keyAfter }) => keyAfter)).toEqual([['3']]);
  });

  test('brings the changes of a transaction that was prepared, at its commit', async () => {
    const found = await changes(
      'begin',
      'insert into other values (9)',
      `prepare transaction 'p'`,
      `commit prepared 'p'`,
    );
    expect(found.map(({ keyAfter }) => keyAfter)).toEqual([['9']]);
  });

  test('says what it cannot read, and goes on', async () => {
    await world.client.query(`select pg_logical_emit_message(false, 'freshet.beat.0', 'no beat at all')`);
    await world.client.query('insert into other values (50)');
    const items = await itemsUntil(
      feed,
      item => item.kind === 'change' && item.change.keyAfter?.[0] === '50',
    );
    const unreadable = items.find(item => item.kind === 'unreadable');
    expect(unreadable).toMatchObject({ kind: 'unreadable', table: null });
    expect(unreadable?.kind === 'unreadable' && unreadable.raw.includes('no beat at all')).toBe(true);
  });

  test('delivers again what was not acknowledged, and not what was', async () => {
    await world.client.query('insert into other values (100)');
    await itemsUntil(feed, item => item.kind === 'change' && item.change.keyAfter?.[0] === '100');
    const [mark] = (await itemsUntil(feed, item => item.kind === 'mark')).slice(-1);
    if (mark?.kind !== 'mark') throw new Error('unreachable');
    await world.client.query('insert into other values (101)');
    await itemsUntil(feed, item => item.kind === 'change' && item.change.keyAfter?.[0] === '101');
    feed.acknowledge(0, mark.position);
    await feed.close();

    const again = world.feed();
    expect(await again.open({ remembered: async () => feed.positionOf(0, mark.position) })).toMatchObject({
      gap: null,
    });
    const items = await itemsUntil(again, item => item.kind === 'change');
    expect(items.flatMap(item => (item.kind === 'change' ? item.change.keyAfter : []))).toEqual(['101']);
    await again.close();
    feed = world.feed();
    await feed.open({ remembered: async () => feed.positionOf(0, mark.position) });
  });

  test('moves its slot no further than what was acknowledged, while keep-alives are answered', async () => {
    const before = await readSlot(world.pool, world.slot);
    await world.client.query('insert into other select generate_series(1000, 2000)');
    await itemsUntil(feed, item => item.kind === 'change' && item.change.keyAfter?.[0] === '2000');
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
    expect((await readSlot(world.pool, world.slot))?.confirmedLsn).toBe(before?.confirmedLsn);
  });

  test('tells when its connection is lost, and opens again without a gap', async () => {
    const { rows } = await world.pool.query(
      'select active_pid from pg_replication_slots where slot_name = $1',
      [world.slot],
    );
    const lost = itemsUntil(feed, () => false);
    await world.pool.query('select pg_terminate_backend($1)', [rows[0].active_pid]);
    await expect(lost).rejects.toMatchObject({ code: 'feed-lost', retryable: true });
    const slot = await eventually(
      'the slot is free',
      () => readSlot(world.pool, world.slot),
      seen => seen?.activePid === null,
    );
    expect(
      await feed.open({ remembered: async () => feed.positionOf(0, slot!.confirmedLsn!) }),
    ).toMatchObject({ gap: null });
  });

  test('stands by while another worker holds the slot, and takes over where that one stopped', async () => {
    const second = world.feed();
    const position = feed.positionOf(0, (await readSlot(world.pool, world.slot))!.confirmedLsn!);
    let isOpen = false;
    const opening = second.open({ remembered: async () => position }).then(gap => {
      isOpen = true;
      return gap;
    });
    await world.client.query('insert into other values (5000)');
    await itemsUntil(feed, item => item.kind === 'change' && item.change.keyAfter?.[0] === '5000');
    expect(isOpen).toBe(false);
    await feed.close();
    expect(await opening).toMatchObject({ gap: null });
    const items = await itemsUntil(
      second,
      item => item.kind === 'change' && item.change.keyAfter?.[0] === '5000',
    );
    expect(items.length).toBeGreaterThan(0);
    feed = second;
  });

  test('loses nothing of a transaction many times larger than its buffer', async () => {
    await world.client.query('insert into other select generate_series(100000, 199999)');
    const seen = new Set<string>();
    await itemsUntil(feed, item => {
      if (item.kind === 'change') seen.add(item.change.keyAfter![0]!);
      return item.kind === 'change' && item.change.keyAfter![0] === '199999';
    });
    for (let id = 100_000; id < 200_000; id += 1)
      if (!seen.has(String(id))) throw new Error(`row ${id} did not come`);
  });
});
