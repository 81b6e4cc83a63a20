import { describe, expect, test } from '@jest/globals';
import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { DebeziumEnvelopes, type DebeziumEnvelopesOptions } from '../../workers/feed/debezium-envelope.ts';
import type { Change, FeedItem } from '../../workers/feed/feed.ts';
import {
  commitUs,
  eventJson,
  identityJson,
  lsn,
  messageJson,
  type PrintedRow,
  recordOf,
  rowJson,
  UNCHANGED,
  xid,
} from '../support/debezium-encoder.ts';
import { column, shape } from '../support/shapes.ts';

const users = shape('users', [
  column('id', 'int8', { notNull: true }),
  column('name', 'text'),
  column('team', 'int4', { notNull: true }),
  column('active', 'bool'),
  column('money', 'numeric'),
]);
const audited: TableShape = { ...users, name: 'audited', qualified: 'audited', replicaIdentity: 'full' };
const members = shape(
  'members',
  [column('note', 'text'), column('region', 'text'), column('day', 'date'), column('seat', 'int4')],
  ['seat', 'region', 'day'],
);
const invoices: TableShape = { ...users, schema: 'billing', name: 'invoices', qualified: 'billing.invoices' };
const served = [users, audited, members, invoices];

const ada: PrintedRow = { id: '1', name: 'Ada', team: '7', active: 't', money: '1.50' };

interface Stray {
  readonly offset: string;
  readonly intended: number;
}

function envelopes(options: Partial<DebeziumEnvelopesOptions> = {}): {
  read: (record: KafkaRecord) => FeedItem[];
  strays: Stray[];
} {
  const strays: Stray[] = [];
  const tables = new Map(served.map(table => [table.qualified, table]));
  const reader = new DebeziumEnvelopes({
    topic: 'freshet.changes',
    topicPrefix: 'freshet',
    tables: () => tables,
    reference: () => 1_000n,
    namespace: 'here',
    now: () => 5,
    settledBefore: () => 0n,
    onStrayBeat: ({ offset }, intended) => strays.push({ offset, intended }),
    ...options,
  });
  return { read: record => reader.read(record), strays };
}

/** The one change that a record brings. */
function changeIn(record: KafkaRecord, options: Partial<DebeziumEnvelopesOptions> = {}): Change {
  const items = envelopes(options).read(record);
  expect(items).toEqual([expect.objectContaining({ kind: 'change' })]);
  return (items[0] as Extract<FeedItem, { kind: 'change' }>).change;
}

const inserted = (table: TableShape, row: PrintedRow): string =>
  eventJson({ op: 'c', table, after: rowJson(table.columns, row) });
const updated = (table: TableShape, before: PrintedRow | null, after: PrintedRow): string =>
  eventJson({
    op: 'u',
    table,
    after: rowJson(table.columns, after),
    ...(before && { before: identityJson(table, before) }),
  });
const deleted = (table: TableShape, row: PrintedRow): string =>
  eventJson({ op: 'd', table, before: identityJson(table, row) });

describe('a change', () => {
  test('that inserts brings the key, the image, the transaction, the time and the place', () => {
    expect(envelopes().read(recordOf(inserted(users, ada), { partition: 3 }))).toEqual([
      {
        kind: 'change',
        partition: 3,
        receivedMs: 5,
        change: {
          op: 'insert',
          table: 'users',
          xid: BigInt(xid),
          lsn: BigInt(lsn),
          committedMs: commitUs / 1000,
          keyBefore: null,
          keyAfter: ['1'],
          before: null,
          after: { id: '1', name: 'Ada', team: '7', active: 't' },
        },
      },
    ]);
  });

  test('that updates brings no row before where the identity gives none', () => {
    expect(changeIn(recordOf(updated(users, null, { ...ada, name: null })))).toMatchObject({
      op: 'update',
      keyBefore: null,
      keyAfter: ['1'],
      before: null,
      after: { name: null },
    });
  });

  test('that updates brings the whole row before where the identity is full', () => {
    expect(changeIn(recordOf(updated(audited, ada, { ...ada, team: '8', active: null })))).toMatchObject({
      keyBefore: ['1'],
      keyAfter: ['1'],
      before: { id: '1', name: 'Ada', team: '7', active: 't' },
      after: { id: '1', name: 'Ada', team: '8', active: null },
    });
  });

  test('that moves a row to another key within one event brings both keys', () => {
    expect(changeIn(recordOf(updated(audited, ada, { ...ada, id: '2' })))).toMatchObject({
      op: 'update',
      keyBefore: ['1'],
      keyAfter: ['2'],
    });
  });

  test('that deletes brings the key alone: what fills the other columns was never in the table', () => {
    const change = changeIn(recordOf(deleted(users, ada)));
    expect(change).toMatchObject({ op: 'delete', keyBefore: ['1'], keyAfter: null, after: null });
    expect(change.before).toEqual({ id: '1' });
  });

  test('that deletes brings the whole row where the identity is full', () => {
    expect(changeIn(recordOf(deleted(audited, ada))).before).toEqual({
      id: '1',
      name: 'Ada',
      team: '7',
      active: 't',
    });
  });

  test('of a key comes as two records, each of which says what it makes wrong', () => {
    const headers = { '__debezium.newkey': Buffer.from('{"id":2}') };
    const first = recordOf(deleted(users, ada), { partition: 1, key: Buffer.from('{"id":1}'), headers });
    const second = recordOf(inserted(users, { ...ada, id: '2' }), {
      partition: 2,
      key: Buffer.from('{"id":2}'),
      headers: { '__debezium.oldkey': Buffer.from('{"id":1}') },
    });
    expect(changeIn(first)).toMatchObject({ op: 'delete', keyBefore: ['1'], keyAfter: null });
    expect(changeIn(second)).toMatchObject({ op: 'insert', keyBefore: null, keyAfter: ['2'] });
    expect(envelopes().read(second)).toMatchObject([{ partition: 2 }]);
  });

  test('of a whole table is a truncation', () => {
    expect(changeIn(recordOf(eventJson({ op: 't', table: users })))).toMatchObject({
      op: 'truncate',
      table: 'users',
      xid: BigInt(xid),
      keyBefore: null,
      keyAfter: null,
    });
  });

  test('that a snapshot tells of is an update of nobody knows which transaction', () => {
    const after = rowJson(users.columns, ada);
    const source = { snapshot: '"true"' };
    for (const txId of ['4000000000', 'null']) {
      const record = recordOf(eventJson({ op: 'r', table: users, after, source: { ...source, txId } }));
      expect(changeIn(record)).toMatchObject({ op: 'update', xid: null, keyBefore: null, keyAfter: ['1'] });
    }
  });

  test('has its key in the order of the primary key, each part as Postgres prints it', () => {
    const row = { note: null, region: 'é,:/"\\\u2028', day: '0044-03-15 BC', seat: '-5' };
    expect(changeIn(recordOf(inserted(members, row))).keyAfter).toEqual([
      '-5',
      'é,:/"\\\u2028',
      '0044-03-15 BC',
    ]);
  });

  test('names its table as keys do', () => {
    expect(changeIn(recordOf(inserted(invoices, ada))).table).toBe('billing.invoices');
  });

  test('of a table that is not served is passed over, readable or not', () => {
    const other = shape('other', [column('id', 'int4')]);
    expect(envelopes().read(recordOf(inserted(other, { id: '1' })))).toEqual([]);
    expect(envelopes().read(recordOf(eventJson({ op: '?', table: other })))).toEqual([]);
    const namesake = { ...users, schema: 'elsewhere' };
    expect(envelopes().read(recordOf(inserted(namesake, ada)))).toEqual([]);
  });

  test('is read by the definition that is served now', () => {
    let tables = new Map<string, TableShape>();
    const { read } = envelopes({ tables: () => tables });
    const record = recordOf(inserted(users, ada));
    expect(read(record)).toEqual([]);
    tables = new Map([['users', users]]);
    expect(read(record)).toMatchObject([{ change: { keyAfter: ['1'] } }]);
    tables = new Map([['users', { ...users, key: [users.columns[1]!] }]]);
    expect(read(record)).toMatchObject([{ change: { keyAfter: ['Ada'] } }]);
  });

  test('may hold columns and members that nobody knows yet', () => {
    const wider = [...users.columns, column('later', 'text')];
    const after = rowJson(wider, { ...ada, later: 'x' });
    const record = recordOf(
      eventJson({ op: 'c', table: users, after, source: { novel: '{"a":[1]}' }, rest: { novel: '1' } }),
    );
    expect(changeIn(record).after).toEqual({ id: '1', name: 'Ada', team: '7', active: 't' });
  });

  test('that lacks a column leaves it unknown', () => {
    const narrower = users.columns.filter(({ name }) => name !== 'team');
    const change = changeIn(recordOf(eventJson({ op: 'c', table: users, after: rowJson(narrower, ada) })));
    expect(change.after).toEqual({ id: '1', name: 'Ada', active: 't' });
  });

  test('is understood with its schema around it', () => {
    const wrapped = `{"schema":{"type":"struct"},"payload":${inserted(users, ada)}}`;
    expect(changeIn(recordOf(wrapped)).keyAfter).toEqual(['1']);
  });

  test('is followed by a tombstone that says nothing', () => {
    expect(envelopes().read(recordOf(null, { key: Buffer.from('{"id":1}') }))).toEqual([]);
  });
});

describe('numbers', () => {
  test.each(['9007199254740993', '-9007199254740993', '9223372036854775807', '-9223372036854775808'])(
    '%s is the key it is',
    id => {
      const change = changeIn(recordOf(updated(audited, { ...ada, id }, { ...ada, id })));
      expect([change.keyBefore, change.keyAfter, change.before?.id, change.after?.id]).toEqual([
        [id],
        [id],
        id,
        id,
      ]);
      expect(changeIn(recordOf(deleted(users, { ...ada, id }))).keyBefore).toEqual([id]);
    },
  );

  test('within texts stay as they are beside numbers that a double does not hold', () => {
    const name = '"id":9007199254740993,\\"12345678901234567890';
    const change = changeIn(recordOf(inserted(users, { ...ada, id: '9007199254740993', name })));
    expect(change.after).toMatchObject({ id: '9007199254740993', name });
    expect(change.committedMs).toBe(commitUs / 1000);
  });

  test('of places in the log are exact beyond 2^53', () => {
    const source = { lsn: '9007199254740993' };
    const record = recordOf(eventJson({ op: 't', table: users, source }));
    expect(changeIn(record).lsn).toBe(9_007_199_254_740_993n);
  });

  test.each([
    ['a transaction below the reference', 765n, 1_000n, 765],
    ['one above it, which nobody has seen yet', 1_100n, 1_000n, 1_100],
    ['one of the epoch before', 2n ** 32n - 7n, 2n ** 32n + 5n, 2 ** 32 - 7],
    ['one of the epoch after', 2n ** 33n + 9n, 2n ** 33n - 5n, 9],
    [
      'one with a low half beyond what is signed',
      2n ** 34n + 2n ** 31n + 1n,
      2n ** 34n + 2n ** 31n,
      2 ** 31 + 1,
    ],
  ])('of transactions are widened: %s', (_name, expected, reference, txId) => {
    const record = recordOf(eventJson({ op: 't', table: users, source: { txId: String(txId) } }));
    expect(changeIn(record, { reference: () => reference }).xid).toBe(expected);
  });

  test('of times are taken in milliseconds where microseconds are missing', () => {
    const record = recordOf(eventJson({ op: 't', table: users, source: { ts_us: undefined } }));
    expect(changeIn(record).committedMs).toBe(1_795_270_211_540);
  });
});

describe('a value out of line that did not change', () => {
  const toasted = (row: PrintedRow, before?: PrintedRow, rest: Partial<KafkaRecord> = {}): KafkaRecord =>
    recordOf(updated(members, before ?? null, row), rest);
  const row = { note: 'n', day: '2024-02-29', seat: '1' };

  test('is unknown, not absent', () => {
    const change = changeIn(recordOf(updated(users, null, { id: '1', team: '7', active: 't', money: '1' })));
    expect(change.after).toEqual({ id: '1', team: '7', active: 't' });
  });

  test('is unknown too where a text only looks like one', () => {
    expect(changeIn(recordOf(inserted(users, { ...ada, name: UNCHANGED }))).after).not.toHaveProperty('name');
  });

  test('of a key is taken from the row before, and only that part of it', () => {
    const before = { ...row, region: 'eu', seat: '2' };
    expect(changeIn(toasted(row, before))).toMatchObject({
      keyBefore: ['2', 'eu', '2024-02-29'],
      keyAfter: ['1', 'eu', '2024-02-29'],
    });
  });

  test("of a key is taken from the record's key", () => {
    const key = Buffer.from('{"seat":9,"region":"eu","day":"2024-03-01Z"}');
    expect(changeIn(toasted(row, undefined, { key })).keyAfter).toEqual(['1', 'eu', '2024-02-29']);
  });

  test('of a key is taken from the old key beside the second half of a key change', () => {
    const oldKey = '{"seat":9,"region":"eu","day":"2024-03-01Z"}';
    const key = Buffer.from(`{"seat":1,"region":"${UNCHANGED}","day":"2024-02-29Z"}`);
    for (const header of [oldKey, Buffer.from(oldKey), [Buffer.from(oldKey)]]) {
      const record = recordOf(inserted(members, row), { key, headers: { '__debezium.oldkey': header } });
      expect(changeIn(record).keyAfter).toEqual(['1', 'eu', '2024-02-29']);
    }
  });
});

describe('a delete without a row before', () => {
  test("has its key from the record's, exact beyond 2^53", () => {
    const key = Buffer.from('{"id":9007199254740993}');
    const change = changeIn(recordOf(eventJson({ op: 'd', table: users }), { key }));
    expect(change).toMatchObject({ op: 'delete', keyBefore: ['9007199254740993'], before: null });
  });
});

describe('a beat', () => {
  const content = JSON.stringify({ writer: 'w', number: 12, namespace: 'here', incarnation: 'life' });
  const beat = { writer: 'w', number: 12, incarnation: 'life' };

  test.each(['freshet.beat.2', 'freshet.beat.2.', 'freshet.beat.2.x7'])('comes under %s', prefix => {
    expect(envelopes().read(recordOf(messageJson(prefix, content), { partition: 2 }))).toEqual([
      { kind: 'beat', partition: 2, beat, again: false },
    ]);
  });

  test('comes within a transaction from servers that cannot flush one by itself', () => {
    const record = recordOf(messageJson('freshet.beat.0', content, {}));
    expect(envelopes().read(record)).toMatchObject([{ kind: 'beat', beat }]);
  });

  test('has come again when it lies before what was settled once in its partition', () => {
    const settled = new Map<number, bigint>();
    const { read } = envelopes({ settledBefore: partition => settled.get(partition) ?? 0n });
    const [at7, at8] = ['7', '8'].map(offset => {
      const [item] = read(recordOf(messageJson('freshet.beat.1', content), { partition: 1, offset }));
      return item as Extract<FeedItem, { kind: 'beat' }>;
    });
    expect([at7!.again, at8!.again]).toEqual([false, false]);
    // Known only later: which records were read before it is nobody's concern.
    settled.set(0, 100n).set(1, 8n);
    expect([at7!.again, at8!.again]).toEqual([true, false]);
  });

  test('of another installation is passed over, wherever it lies', () => {
    const other = content.replace('here', 'there');
    const { read, strays } = envelopes();
    expect(read(recordOf(messageJson('freshet.beat.0', other)))).toEqual([]);
    expect(read(recordOf(messageJson('freshet.beat.3', other)))).toEqual([]);
    expect(strays).toEqual([]);
  });

  test('in another partition than it was meant for is told, and proves nothing', () => {
    const { read, strays } = envelopes();
    expect(read(recordOf(messageJson('freshet.beat.3.x', content), { partition: 1, offset: '41' }))).toEqual(
      [],
    );
    expect(strays).toEqual([{ offset: '41', intended: 3 }]);
  });

  test('is not what other messages are', () => {
    const { read } = envelopes();
    for (const prefix of ['freshet.invalidate', 'freshet.beat', 'other', '']) {
      expect(read(recordOf(messageJson(prefix, 'users')))).toEqual([]);
    }
  });
});
