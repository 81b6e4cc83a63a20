import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { TYPE } from '../../shared/resources/type-oids.ts';
import type { Change, Feed, FeedItem, Image } from '../../workers/feed/feed.ts';
import { parseLsn } from '../../workers/feed/lsn.ts';
import { plan } from '../../workers/plan.ts';
import {
  beatOnce,
  changesOf,
  type FeedKind,
  type FeedWorld,
  forgetLeftOver,
  itemsOf,
  itemsUntil,
  itemsUntilBeat,
  openFeedWorld,
  sendBeat,
  untilStandstill,
} from '../support/feed-world.ts';
import { heapGrowth } from '../support/heap.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';

/** More than one, so that order between partitions is not taken for granted. */
const PARTITIONS = 2;
const START_LIMIT_MS = 60_000;

const SCHEMA = `
  create type mood as enum ('sad', 'glad');
  create table plain (id bigint primary key, name text, note text);
  create table wide (id int primary key, small text, big text);
  alter table wide alter column big set storage external;
  create table full_identity (id int primary key, team int, big text);
  alter table full_identity replica identity full;
  alter table full_identity alter column big set storage external;
  create table composite (note text, b text, a date, primary key (a, b));
  create table typed (id uuid primary key, at timestamptz, flag boolean, feeling mood, day date, small smallint,
                      large bigint, code varchar(9), money numeric, raw bytea, ratio float8, list int[], doc jsonb);
  create table defaults (id int primary key, n int default 5, t text default 'not given', flag boolean default true);
  create table other (id int primary key);
  create table counted (id int primary key, n int not null);
  create table bulky (id int primary key, filler text);
  create table keyless (id int);
  create table parts (id int, region text, primary key (id, region)) partition by list (region);
  create table parts_eu partition of parts for values in ('eu');
  create table parts_us partition of parts for values in ('us');
  create table growing (id int primary key, name text);
  create schema billing;
  create table billing.invoices (id int primary key, total numeric);
`;

/** Types that tags can be made of; enums too. Of the others a feed may say nothing. */
const TAGGABLE: ReadonlySet<number> = new Set([
  TYPE.int2,
  TYPE.int4,
  TYPE.int8,
  TYPE.bool,
  TYPE.uuid,
  TYPE.date,
  TYPE.text,
  TYPE.varchar,
]);

/** What every feed promises, whatever the way changes take. `wal` and `kafka` differ in nothing that is said here. */
export function describeFeed(kind: FeedKind): void {
  describe(`the ${kind} feed, as every feed,`, () => {
    let world: FeedWorld;
    let feed: Feed;
    const changes = (...statements: string[]): Promise<Change[]> =>
      changesOf(world, feed, () => run(...statements));
    const items = (...statements: string[]): Promise<FeedItem[]> =>
      itemsOf(world, feed, () => run(...statements));
    const run = async (...statements: string[]): Promise<void> => {
      for (const statement of statements) await world.client.query(statement);
    };

    beforeAll(
      async () => {
        world = await openFeedWorld(SCHEMA, { kind, partitions: PARTITIONS });
        feed = world.feed();
        const { leads, positions, gap } = await world.open(feed);
        expect({ leads, gap: gap?.cause }).toEqual({ leads: true, gap: 'first-start' });
        expect([...positions]).toEqual(Array.from({ length: feed.partitions }, (_, i) => [i, null]));
        expect(feed.beatPrefixes).toHaveLength(feed.partitions);
      },
      kind === 'kafka' ? kafkaStartLimitMs : START_LIMIT_MS,
    );
    afterAll(() => world?.close(), START_LIMIT_MS);

    /** The columns expected, where the feed has to say them; nothing that was not expected. */
    function expectImage(table: string, found: Image | null, expected: Image | null): void {
      if (found === null || expected === null) {
        expect(found).toEqual(expected);
        return;
      }
      const columns = new Map(world.tables.get(table)!.columns.map(column => [column.name, column]));
      const isOptional = (name: string): boolean => {
        const { typeOid, labels, kind: json } = columns.get(name)!;
        return json === 'array' || !(TAGGABLE.has(typeOid) || labels);
      };
      const saidOrNot = Object.entries(expected).filter(([name]) => !isOptional(name) || name in found);
      expect(found).toEqual(Object.fromEntries(saidOrNot));
    }
    const expectChange = (
      change: Change | undefined,
      expected: Pick<Change, 'op' | 'table' | 'keyBefore' | 'keyAfter' | 'before' | 'after'>,
    ): void => {
      const { op, table, keyBefore, keyAfter } = change!;
      const { before, after, ...rest } = expected;
      expect({ op, table, keyBefore, keyAfter }).toEqual(rest);
      expectImage(table, change!.before, before);
      expectImage(table, change!.after, after);
    };
    /** Rows that answer differently now, as the workers would fence them. */
    const rowsOf = (found: readonly Change[]): string[] =>
      [...new Set(found.flatMap(change => plan(change).rows.map(({ tag }) => tag)))].sort();
    const keysOf = (found: readonly Change[]): unknown[] => found.map(({ keyAfter }) => keyAfter);

    describe('brings', () => {
      test('an insert with its key and its image, exact beyond 2^53', async () => {
        const found = await changes(`insert into plain values (9007199254740993, 'a', null)`);
        expect(found).toHaveLength(1);
        expectChange(found[0], {
          op: 'insert',
          table: 'plain',
          keyBefore: null,
          keyAfter: ['9007199254740993'],
          before: null,
          after: { id: '9007199254740993', name: 'a', note: null },
        });
      });

      test('keys at both ends of what 64 bits hold, and their neighbours, each as its own', async () => {
        const ids = ['-9223372036854775808', '-9223372036854775807', '-9007199254740993', '-1', '0'].concat([
          '9007199254740991',
          '9007199254740992',
          '9223372036854775806',
          '9223372036854775807',
        ]);
        const found = await changes(
          `insert into plain select unnest('{${ids.join()}}'::bigint[])`,
          `delete from plain where id = any ('{${ids.join()}}')`,
        );
        const inserted = found.filter(({ op }) => op === 'insert').flatMap(({ keyAfter }) => keyAfter);
        const deleted = found.filter(({ op }) => op === 'delete').flatMap(({ keyBefore }) => keyBefore);
        expect([inserted.sort(), deleted.sort()]).toEqual([ids.toSorted(), ids.toSorted()]);
      });

      test('the 64-bit transaction id, the commit time and a place in the log', async () => {
        const startMs = Date.now();
        await run('begin');
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

      test('an update without an image before where the identity gives none', async () => {
        const found = await changes(`update plain set name = 'B' where id = 2`);
        expect(found).toHaveLength(1);
        expectChange(found[0], {
          op: 'update',
          table: 'plain',
          keyBefore: null,
          keyAfter: ['2'],
          before: null,
          after: { id: '2', name: 'B', note: 'c' },
        });
      });

      test('both rows of a change of the key, in one item or in two', async () => {
        const found = await changes('update plain set id = 3 where id = 2');
        expect(rowsOf(found)).toEqual(['plain:2', 'plain:3']);
        expect(found.at(-1)!.keyAfter ?? found[0]!.keyAfter).toEqual(['3']);
        const full = await changes(
          `insert into full_identity values (70, 7, 'x')`,
          'update full_identity set id = 71 where id = 70',
        );
        expect(rowsOf(full)).toEqual(['full_identity:70', 'full_identity:71']);
        const twoParts = await changes(
          `insert into composite values ('n', 'old', '2026-01-01')`,
          `update composite set b = 'new' where b = 'old'`,
        );
        expect(rowsOf(twoParts)).toEqual(['composite:2026-01-01,new', 'composite:2026-01-01,old']);
      });

      test('a delete with the key, of whose other columns nothing is known', async () => {
        const found = await changes('delete from plain where id = 3');
        expect(found).toHaveLength(1);
        expectChange(found[0], {
          op: 'delete',
          table: 'plain',
          keyBefore: ['3'],
          keyAfter: null,
          before: { id: '3' },
          after: null,
        });
      });

      test('both images of every change where the identity is full', async () => {
        const found = await changes(
          `insert into full_identity values (1, 7, null)`,
          'update full_identity set team = null where id = 1',
          'delete from full_identity where id = 1',
        );
        expect(found.map(({ op }) => op)).toEqual(['insert', 'update', 'delete']);
        const [before, after] = [
          { id: '1', team: '7', big: null },
          { id: '1', team: null, big: null },
        ];
        expectImage('full_identity', found[1]!.before, before);
        expectImage('full_identity', found[1]!.after, after);
        expectImage('full_identity', found[2]!.before, after);
        expect(found[2]!.keyBefore).toEqual(['1']);
      });

      test('no out-of-line value that did not change, instead of calling it null', async () => {
        const big = 'x'.repeat(20_000);
        const found = await changes(
          `insert into wide values (1, 'a', '${big}')`,
          `update wide set small = 'b'`,
        );
        expect(found[0]!.after!.big).toBe(big);
        expectImage('wide', found[1]!.after, { id: '1', small: 'b' });
        const full = await changes(
          `insert into full_identity values (2, 7, '${big}')`,
          'update full_identity set team = 8 where id = 2',
        );
        expect(full[1]!.before).toMatchObject({ id: '2', team: '7' });
        // Where the image before has it, the one after may have it too.
        const { big: known = big, ...rest } = full[1]!.after!;
        expect(known).toBe(big);
        expectImage('full_identity', rest, { id: '2', team: '8' });
        // Changed to nothing is another thing.
        const [emptied] = await changes('update wide set big = null');
        expectImage('wide', emptied!.after, { id: '1', small: 'b', big: null });
      });

      test('composite keys in the order of the primary key', async () => {
        const [change] = await changes(`insert into composite values ('n', 'x,y:z%', '2026-11-21')`);
        expect(change!.keyAfter).toEqual(['2026-11-21', 'x,y:z%']);
      });

      test('dates beyond the calendar of JavaScript as Postgres prints them', async () => {
        const days = ['0044-03-15 BC', '0001-01-01', '20000-01-01', 'infinity', '-infinity'];
        const statements = days.map((day, i) => `insert into composite values (null, '${i}', '${day}')`);
        const found = await changes(...statements);
        expect(found.map(({ keyAfter }) => keyAfter![0]).sort()).toEqual(days.sort());
      });

      test('values of the types that tags are made of as Postgres prints them, and no other value wrongly', async () => {
        const id = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
        const [change] = await changes(
          `insert into typed values ('${id}', '2026-11-21 12:00:00.123456+02', true, 'glad', '2026-11-21', -7,
             9007199254740993, 'a-1', 12345678901234567890.10, '\\xdead', 0.1, '{1,2}', '{"a": 1}')`,
        );
        expectImage('typed', change!.after, {
          id,
          at: '2026-11-21 10:00:00.123456+00',
          flag: 't',
          feeling: 'glad',
          day: '2026-11-21',
          small: '-7',
          large: '9007199254740993',
          code: 'a-1',
          money: '12345678901234567890.10',
          raw: '\\xdead',
          ratio: '0.1',
          list: '{1,2}',
          doc: '{"a": 1}',
        });
      });

      test('NULL as NULL where the column has a default', async () => {
        const [change] = await changes('insert into defaults values (1, null, null, null)');
        expectImage('defaults', change!.after, { id: '1', n: null, t: null, flag: null });
      });

      test('a TRUNCATE of several tables once for each of them', async () => {
        const found = await changes('truncate plain, composite');
        expect(found.map(({ op, table }) => `${op} ${table}`).sort()).toEqual([
          'truncate composite',
          'truncate plain',
        ]);
        expect(new Set(found.map(({ xid }) => xid)).size).toBe(1);
      });

      test('changes of partitions under the name of their table, and of other schemas under theirs', async () => {
        const found = await changes(
          `insert into parts values (1, 'eu')`,
          `update parts set region = 'us'`,
          'insert into billing.invoices values (1, 2.50)',
        );
        // A row that moves to another partition is deleted there and inserted here.
        expect(found.map(({ op, table }) => `${op} ${table}`).sort()).toEqual([
          'delete parts',
          'insert billing.invoices',
          'insert parts',
          'insert parts',
        ]);
        expect(rowsOf(found)).toEqual(['billing.invoices:1', 'parts:1,eu', 'parts:1,us']);
      });

      test('nothing of tables that are not served, nor of work that was rolled back', async () => {
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
        expect(keysOf(found)).toEqual([['3']]);
      });

      test('changes of subtransactions under the id of their transaction', async () => {
        await run('begin');
        const { rows } = await world.client.query(`select pg_current_xact_id()::text as xid`);
        const found = await changes(
          'insert into other values (30)',
          'savepoint one',
          'insert into other values (31)',
          'savepoint two',
          'insert into other values (32)',
          'release one',
          'commit',
        );
        expect(found.map(({ xid }) => String(xid))).toEqual(Array(3).fill(rows[0].xid));
      });

      test('the changes of a transaction that was prepared, at its commit', async () => {
        const prepared = ['begin', 'insert into other values (9)', `prepare transaction 'p'`];
        expect(await changes(...prepared)).toEqual([]);
        expect(keysOf(await changes(`commit prepared 'p'`))).toEqual([['9']]);
      });

      test('changes of a table that was altered on the way, by what is known of it', async () => {
        const found = await changes(
          `insert into growing values (1, 'a')`,
          `alter table growing add column more int default 7`,
          `insert into growing values (2, 'b', 8)`,
          `alter table growing drop column name`,
          'update growing set more = 9 where id = 1',
        );
        expect(found.map(({ op, keyAfter }) => [op, keyAfter])).toEqual([
          ['insert', ['1']],
          ['insert', ['2']],
          ['update', ['1']],
        ]);
        expect(found[1]!.after).toMatchObject({ id: '2', name: 'b' });
        // What a table lost is unknown, not null.
        expect(found[2]!.after).not.toHaveProperty('name');
      });

      test('a row of several megabytes', async () => {
        const found = await changes(
          `insert into bulky values (1, repeat(md5('a'), 160000))`,
          'update bulky set id = 2',
          'delete from bulky',
        );
        expect(rowsOf(found)).toEqual(['bulky:1', 'bulky:2']);
      });
    });

    describe('keeps order', () => {
      test('of the changes of one row', async () => {
        const updates = Array.from({ length: 100 }, (_, i) => `update counted set n = ${i + 1} where id = 1`);
        const found = await changes('insert into counted values (1, 0)', ...updates);
        expect(found.map(({ after }) => after!.n)).toEqual(Array.from({ length: 101 }, (_, i) => String(i)));
      });

      test('of beats and of what was committed between them, in every partition', async () => {
        const writer = 'writer of the order';
        const found = await itemsOf(world, feed, async () => {
          for (let number = 1; number <= 40; number += 1) {
            await run(`insert into other select ${100 * number} + n from generate_series(0, 2) n`);
            await sendBeat(world, feed, writer, number);
          }
        });
        for (const [, part] of Map.groupBy(found, ({ partition }) => partition)) {
          const beats = part.flatMap(item => (item.kind === 'beat' ? [item.beat.number] : []));
          expect(beats).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
          let last = 0;
          for (const item of part) {
            if (item.kind === 'beat') last = item.beat.number;
            if (item.kind !== 'change') continue;
            expect(Math.floor(Number(item.change.keyAfter![0]) / 100)).toBe(last + 1);
          }
        }
        expect(found.filter(({ kind: what }) => what === 'change')).toHaveLength(120);
      });

      test('of transactions: none of them is torn apart by another one in a partition', async () => {
        const [one, two] = await Promise.all([world.database.connect(), world.database.connect()]);
        const found = await itemsOf(world, feed, async () => {
          for (let round = 0; round < 5; round += 1) {
            await Promise.all([one.query('begin'), two.query('begin')]);
            for (let n = 0; n < 10; n += 1) {
              await one.query(`insert into other values (${10_000 + round * 100 + n})`);
              await two.query(`insert into other values (${10_000 + round * 100 + 50 + n})`);
            }
            await Promise.all([one.query('commit'), two.query('commit')]);
          }
        });
        for (const [, part] of Map.groupBy(found, ({ partition }) => partition)) {
          const xids = part.flatMap(item => (item.kind === 'change' ? [item.change.xid] : []));
          const stretches = xids.filter((xid, i) => xid !== xids[i - 1]);
          expect(stretches).toHaveLength(new Set(xids).size);
        }
        await Promise.all([one.end(), two.end()]);
      });
    });

    describe('tells', () => {
      test('a beat of every partition, as it was written', async () => {
        const writer = await beatOnce(world, feed, 17);
        const found = await itemsUntilBeat(feed, writer);
        const beats = found.filter(item => item.kind === 'beat');
        expect(beats).toHaveLength(feed.partitions);
        expect(new Set(beats.map(({ partition }) => partition)).size).toBe(feed.partitions);
        for (const { beat, again } of beats) {
          expect(beat).toEqual({ writer, number: 17, incarnation: 'of the test' });
          expect(again).toBe(false);
        }
      });

      test('nothing of messages that are no beats, nor of the beats of others', async () => {
        const beat = JSON.stringify({ writer: 'else', number: 900, namespace: 'somebody else' });
        const found = await items(
          `select pg_logical_emit_message(false, 'freshet.trace', 'x')`,
          `select pg_logical_emit_message(true, 'freshet.beat', 'x')`,
          `select pg_logical_emit_message(true, 'of an application', '${beat}')`,
          `select pg_logical_emit_message(false, '', '')`,
          ...feed.beatPrefixes.map(prefix => `select pg_logical_emit_message(false, '${prefix}', '${beat}')`),
          'insert into other values (60)',
        );
        expect(found.filter(({ kind: what }) => what !== 'mark').map(item => item.kind)).toEqual(['change']);
      });

      test('what it cannot read, with its bytes and its place, and goes on', async () => {
        const [prefix] = feed.beatPrefixes;
        const found = await items(
          `select pg_logical_emit_message(false, '${prefix}', 'no beat at all')`,
          'insert into other values (50)',
        );
        const unreadable = found.filter(item => item.kind === 'unreadable');
        expect(unreadable).toHaveLength(1);
        const { table, partition, place, raw } = unreadable[0]!;
        expect({ table, partition }).toEqual({ table: null, partition: 0 });
        expect(place).toMatch(/\S/);
        const texts = ['no beat at all', Buffer.from('no beat at all').toString('base64')];
        expect(texts.some(text => raw.includes(text))).toBe(true);
        expect(found.flatMap(item => (item.kind === 'change' ? [item.change.keyAfter] : []))).toEqual([
          ['50'],
        ]);
      });

      test('where each partition may be acknowledged, behind everything that came', async () => {
        const found = await items('insert into other select generate_series(61, 80)');
        const writer = await beatOnce(world, feed);
        const all = [...found, ...(await itemsUntilBeat(feed, writer))];
        const rest = await itemsUntil(feed, ({ kind: what }) => what === 'mark');
        const marked = new Set([...all, ...rest].flatMap(i => (i.kind === 'mark' ? [i.partition] : [])));
        expect([...marked].sort()).toEqual(Array.from({ length: feed.partitions }, (_, i) => i));
      });
    });

    describe('begun again', () => {
      /** Closed and opened, as by a worker that ended and another one. */
      const reopen = async (): Promise<Awaited<ReturnType<FeedWorld['open']>>> => {
        await feed.close();
        forgetLeftOver(feed);
        feed = world.feed();
        return world.open(feed);
      };
      /** What of the table `other` comes from here on, up to a beat. */
      const keysFromHere = async (): Promise<string[]> => {
        const found = await itemsUntilBeat(feed, await beatOnce(world, feed));
        return found.flatMap(item => (item.kind === 'change' ? item.change.keyAfter! : [])).sort();
      };
      /** Everything until now, with a mark behind it in every partition. */
      const everything = async (): Promise<FeedItem[]> => {
        const found = await itemsUntilBeat(feed, await beatOnce(world, feed));
        const lastMarks = (): Set<number> =>
          new Set(found.flatMap((item, i) => (item.kind === 'mark' && isLast(i) ? [item.partition] : [])));
        const isLast = (at: number): boolean =>
          !found
            .slice(at)
            .some(({ kind: what, partition }) => what !== 'mark' && partition === found[at]!.partition);
        while (lastMarks().size < feed.partitions) {
          found.push(...(await itemsUntil(feed, ({ kind: what }) => what === 'mark')));
        }
        return found;
      };

      test('delivers what was not acknowledged, and not what was', async () => {
        await run('insert into other select generate_series(100001, 100010)');
        world.settle(feed, await everything());
        await run('insert into other select generate_series(100011, 100020)');
        await everything();
        expect(await reopen()).toMatchObject({ gap: null, leads: true });
        const keys = await keysFromHere();
        expect(keys).toEqual(Array.from({ length: 10 }, (_, i) => String(100_011 + i)));
      });

      test('delivers what came while nobody was there', async () => {
        world.settle(feed, await everything());
        await feed.close();
        await run('insert into other select generate_series(100021, 100030)');
        expect(await reopen()).toMatchObject({ gap: null });
        expect(await keysFromHere()).toHaveLength(10);
      });

      test('may be the same feed that was closed', async () => {
        world.settle(feed, await everything());
        await feed.close();
        forgetLeftOver(feed);
        expect(await world.open(feed)).toMatchObject({ gap: null });
        await run('insert into other values (100031)');
        expect(await keysFromHere()).toEqual(['100031']);
      });

      test('calls beats that were settled once, and come again, what they are; and no other', async () => {
        world.settle(feed, await everything());
        const settled = await beatOnce(world, feed, 1);
        // Remembered, and lost on the way to the source: as by a worker that is killed in between.
        world.settle(feed, await everything(), false);
        const unsettled = await beatOnce(world, feed, 2);
        await everything();
        await reopen();
        const later = await beatOnce(world, feed, 3);
        const found = await itemsUntilBeat(feed, later);
        const agains = (writer: string): boolean[] =>
          found.flatMap(item => (item.kind === 'beat' && item.beat.writer === writer ? [item.again] : []));
        const each = (again: boolean): boolean[] => Array(feed.partitions).fill(again);
        expect(agains(settled)).toEqual(each(true));
        expect(agains(unsettled)).toEqual(each(false));
        expect(agains(later)).toEqual(each(false));
      });

      test('without anything remembered is a gap, and nothing that comes then is called settled', async () => {
        world.settle(feed, await everything());
        const lost = new Map(world.positions);
        world.positions.clear();
        expect(await reopen()).toMatchObject({ gap: { cause: 'position-unknown' } });
        const found = await itemsUntilBeat(feed, await beatOnce(world, feed));
        expect(found.some(item => item.kind === 'beat' && item.again)).toBe(false);
        world.settle(feed, [...found, ...(await everything())]);
        expect(world.positions.size).toBe(lost.size);
        expect(await reopen()).toMatchObject({ gap: null });
      });

      test('behind a source that is further than what is remembered is a gap', async () => {
        world.settle(feed, await everything());
        const older = new Map(world.positions);
        await run('insert into other select generate_series(100041, 100060)');
        world.settle(feed, await everything());
        for (const [record, position] of older) world.positions.set(record, position);
        const { gap } = await reopen();
        expect(gap?.cause).toMatch(/^(slot|offset)-ahead$/);
        world.settle(feed, await everything());
      });

      test.each([
        ['system', '1', 'other-system'],
        ['timeline', '7', 'other-timeline'],
      ])('from a position of another %s is a gap', async (field, value, cause) => {
        world.settle(feed, await everything());
        for (const [record, position] of world.positions)
          world.positions.set(record, { ...position, [field]: value });
        const taken = await reopen();
        expect(taken.gap?.cause).toBe(cause);
        // It is not what the partitions go on from.
        expect([...taken.positions.values()]).toEqual(Array(feed.partitions).fill(null));
        feed.check();
        world.settle(feed, await everything());
        expect(await reopen()).toMatchObject({ gap: null });
      });
    });

    test('loses nothing of a transaction many times larger than its buffer, and does not keep all of it', async () => {
      const ROWS = 100_000;
      const bytes = 1_000;
      const growth = await heapGrowth(async () => {
        await run(`insert into bulky select n, repeat('x', ${bytes}) from generate_series(1, ${ROWS}) n`);
        await untilStandstill(world);
      });
      // Two partitions, each with what it may keep and what was on its way: less than half of what there is.
      expect(growth).toBeLessThan((ROWS * bytes) / 2);
      const writer = await beatOnce(world, feed);
      const seen = new Set<string>();
      let left = feed.partitions;
      await itemsUntil(feed, item => {
        if (item.kind === 'change') seen.add(item.change.keyAfter![0]!);
        if (item.kind === 'beat' && item.beat.writer === writer) left -= 1;
        return left === 0;
      });
      for (let id = 1; id <= ROWS; id += 1)
        if (!seen.has(String(id))) throw new Error(`row ${id} did not come`);
    }, 120_000);
  });
}
