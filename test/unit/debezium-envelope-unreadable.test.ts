import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { DebeziumEnvelopes } from '../../workers/feed/debezium-envelope.ts';
import type { FeedItem } from '../../workers/feed/feed.ts';
import {
  type EventOptions,
  eventJson,
  identityJson,
  messageJson,
  recordOf,
  rowJson,
  UNCHANGED,
  xid,
} from '../support/debezium-encoder.ts';
import { column, shape } from '../support/shapes.ts';

const users = shape('users', [column('id', 'int8'), column('name', 'text')]);
const texts = shape('texts', [column('id', 'text'), column('note', 'text')]);
const served = new Map([users, texts].map(table => [table.qualified, table]));

let reference = 1_000n;
const reader = new DebeziumEnvelopes({
  topic: 'freshet.changes',
  topicPrefix: 'freshet',
  tables: () => served,
  reference: () => reference,
  namespace: 'here',
  now: () => 5,
  settledBefore: () => 0n,
  onStrayBeat: () => {},
});
const read = (value: string | Buffer): FeedItem[] =>
  reader.read(recordOf(value, { partition: 2, offset: '41' }));

/** What is left of an unreadable record, without what all of them have. */
function unreadable(value: string | Buffer): { table: string | null; xid: bigint | null; error: string } {
  const items = read(value);
  expect(items).toEqual([
    expect.objectContaining({ kind: 'unreadable', partition: 2, place: 'freshet.changes/2@41' }),
  ]);
  const [item] = items as Extract<FeedItem, { kind: 'unreadable' }>[];
  return { table: item!.table, xid: item!.xid, error: String(item!.error) };
}

const after = rowJson(users.columns, { id: '1', name: 'Ada' });
const before = identityJson(users, { id: '1', name: 'Ada' });
const event = (rest: Partial<EventOptions> = {}): string =>
  eventJson({ op: 'u', table: users, after, ...rest });

describe('a record that tells of nothing we can know', () => {
  test.each([
    ['nothing', ''],
    ['rubbish', '\u0000\u0001{]'],
    ['an event cut short', event().slice(0, -1)],
    ['null', 'null'],
    ['a list', '[1]'],
    ['a text', '"x"'],
    ['an empty object', '{}'],
    ['a transaction of the connector', '{"status":"BEGIN","id":"765:25044432","ts_ms":1}'],
    ['an event without a source', event({ rest: { source: undefined } })],
    ['an event whose source is a list', event({ rest: { source: '[]' } })],
    ['an event of another kind of connector', event({ source: { connector: '"mysql"' } })],
    ['an event of another connector', event({ source: { name: '"inventory"' } })],
    ['an event of a connector that only begins as ours', event({ source: { name: '"freshet_x"' } })],
    ['an event that names no table', event({ source: { table: '""' } })],
    ['an event whose table is a number', event({ source: { table: '7' } })],
    ['an event without a schema', event({ source: { schema: undefined } })],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x7b])],
    ['a payload that is none', '{"schema":{},"payload":3}'],
    ['a very deep list', '['.repeat(200_000)],
    ['a message without content', '{"op":"m","source":{"connector":"postgresql","name":"freshet"}}'],
  ])('puts every table in doubt: %s', (_name, value) => {
    expect(unreadable(value)).toMatchObject({ table: null, xid: null });
  });

  test.each([
    ['no JSON', 'freshet.beat.2', 'x'],
    ['no writer', 'freshet.beat.2', '{"number":1}'],
    ['no whole number', 'freshet.beat.2', '{"writer":"w","number":1.5}'],
    ['nothing', 'freshet.beat.2', 'null'],
    ['a beat, meant for no partition', 'freshet.beat.x', '{"writer":"w","number":1}'],
    ['a beat, meant for less than none', 'freshet.beat.-1', '{"writer":"w","number":1}'],
  ])('puts every table in doubt: a beat that holds %s', (_name, prefix, content) => {
    expect(unreadable(messageJson(prefix, content))).toMatchObject({ table: null, xid: null });
    expect(unreadable(messageJson(prefix, content, {}))).toMatchObject({ table: null, xid: BigInt(xid) });
  });
});

describe('a change of a known table that cannot be read', () => {
  test.each<[string, Partial<EventOptions>]>([
    ['is of an unknown kind', { op: 'x' }],
    ['is of a kind that is the name of a function', { op: 'constructor' }],
    ['has no kind', { rest: { op: undefined } }],
    ['has no row after it', { after: 'null' }],
    ['has a list for a row', { after: '[1]' }],
    ['has a text for a row before', { before: '"x"' }],
    ['has no key', { after: '{"name":"Ada"}' }],
    ['has a key that is NULL', { after: '{"id":null,"name":"Ada"}' }],
    ['has a key of another type', { after: '{"id":"x","name":"Ada"}' }],
    ['has a key with a fraction', { after: '{"id":1.5,"name":"Ada"}' }],
    ['has a key that no number can be', { after: '{"id":1e400,"name":"Ada"}' }],
    ['has a key beyond 64 bits', { after: '{"id":92233720368547758070,"name":"Ada"}' }],
    ['has a row before without a key', { before: '{"id":null,"name":"Ada"}' }],
    ['deletes and has no key at all', { op: 'd', before: '{"name":"Ada"}' }],
    ['deletes and has no row', { op: 'd', after: 'null' }],
    ['has a place before the beginning of the log', { source: { lsn: '-1' } }],
    ['has no place in the log', { source: { lsn: 'null' } }],
    ['has a fraction of a place in the log', { source: { lsn: '1.5' } }],
    ['has a place beyond every log', { source: { lsn: '99999999999999999999999' } }],
    ['has no time', { source: { ts_us: undefined, ts_ms: undefined } }],
    ['has a text for a time', { source: { ts_us: '"now"', ts_ms: '"now"' } }],
  ])('puts that table in doubt: it %s', (_name, options) => {
    expect(unreadable(event(options))).toMatchObject({ table: 'users', xid: BigInt(xid) });
  });

  test.each([
    ['none', 'null'],
    ['2^32', '4294967296'],
    ['one of ours and 2^32', String(2 ** 32 + xid)],
    ['2^53', '9007199254740992'],
    ['beyond what a double holds', '9007199254740993'],
    ['less than nothing', '-5'],
    ['that of the bootstrap', '1'],
    ['that of frozen rows', '2'],
    ['a fraction', '765.5'],
    ['a text', '"765"'],
  ])('is of nobody knows which transaction when its id is %s', (_name, txId) => {
    for (const [op, row] of [
      ['c', { after }],
      ['u', { after }],
      ['d', { before }],
      ['t', {}],
    ] as const) {
      const value = eventJson({ op, table: users, source: { txId }, ...row });
      expect(unreadable(value)).toMatchObject({ table: 'users', xid: null });
    }
  });

  test('is of nobody knows which transaction when none of this database can have its id', () => {
    for (const [around, txId] of [
      [100n, '4294967290'],
      // Each epoch leaves the first three out.
      [2n ** 32n + 100n, '2'],
      [2n ** 53n - 1n, '5'],
    ] as const) {
      reference = around;
      expect(unreadable(event({ source: { txId } }))).toMatchObject({ table: 'users', xid: null });
    }
    reference = 1_000n;
  });

  test('of a snapshot is of nobody knows which transaction', () => {
    expect(unreadable(event({ op: 'r', after: '{}' }))).toMatchObject({ table: 'users', xid: null });
  });

  test('does not say a key that did not change out of line', () => {
    const row = rowJson(texts.columns, { note: 'n' });
    const key = Buffer.from(JSON.stringify({ id: UNCHANGED }));
    const value = eventJson({ op: 'u', table: texts, after: row });
    expect(reader.read(recordOf(value, { key }))).toMatchObject([{ kind: 'unreadable', table: 'texts' }]);
    expect(reader.read(recordOf(value, { key: Buffer.from('{') }))).toMatchObject([
      { kind: 'unreadable', table: 'texts' },
    ]);
  });

  test('does not take the key after for the key before', () => {
    const key = Buffer.from('{"id":2}');
    const full = { op: 'u', table: users, before: '{"name":"Ada"}', after } as const;
    expect(reader.read(recordOf(eventJson(full), { key }))).toMatchObject([{ kind: 'unreadable' }]);
  });

  test('has a column of the key that was renamed or dropped', () => {
    const row = rowJson([column('ident', 'int8'), column('name', 'text')], { ident: '1', name: 'Ada' });
    const key = Buffer.from('{"ident":1}');
    for (const rest of [
      { op: 'c', after: row },
      { op: 'u', after: row },
      { op: 'd', before: row },
    ]) {
      const value = eventJson({ table: users, ...rest });
      expect(reader.read(recordOf(value, { key }))).toMatchObject([{ kind: 'unreadable', table: 'users' }]);
    }
  });
});

describe('what is kept of a record that cannot be read', () => {
  const kept = (value: Buffer): Extract<FeedItem, { kind: 'unreadable' }> =>
    reader.read(recordOf(value))[0] as Extract<FeedItem, { kind: 'unreadable' }>;

  test('is its bytes, apart from the batch they came in', () => {
    const batch = Buffer.from('before{]after');
    const item = kept(batch.subarray(6, 8));
    batch.fill(0);
    expect(item.raw.toString()).toBe('{]');
  });

  test('is the beginning of two megabytes of rubbish, and says so', () => {
    const item = kept(Buffer.alloc(2_000_000, '}'));
    expect(item.raw).toHaveLength(1_048_576);
    expect(String(item.error)).toMatch(/first 1048576 of 2000000 bytes are kept/);
    expect(String(item.error).length).toBeLessThan(500);
  });

  test('is a message no longer than a line', () => {
    const long = JSON.stringify('x'.repeat(500_000));
    expect(unreadable(event({ rest: { op: long } })).error.length).toBeLessThan(300);
    expect(unreadable(event({ source: { name: long } })).error.length).toBeLessThan(400);
    expect(
      unreadable(messageJson(`freshet.beat.${'9'.repeat(500_000)}`, '{"writer":"w","number":1}')).error
        .length,
    ).toBeLessThan(300);
  });
});

describe('whatever comes', () => {
  const isWellFormed = (items: FeedItem[]): boolean =>
    items.length <= 1 && items.every(({ kind }) => ['change', 'beat', 'unreadable'].includes(kind));

  test('as bytes or as JSON is never thrown at the reader', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes)),
      fc.json().map(text => Buffer.from(text)),
    );
    fc.assert(
      fc.property(anything, value => isWellFormed(read(value as Buffer))),
      { numRuns: 2_000 },
    );
  });

  const whole = [
    event(),
    event({ before }),
    eventJson({ op: 'd', table: users, before }),
    eventJson({ op: 't', table: users }),
  ];
  const rightKeys = (items: FeedItem[]): boolean =>
    items.every(
      item =>
        item.kind !== 'change' ||
        item.change.op === 'truncate' ||
        [item.change.keyBefore, item.change.keyAfter].every(key => key === null || key[0] === '1'),
    );

  test('of an event cut short is never passed over', () => {
    fc.assert(
      fc.property(fc.constantFrom(...whole), fc.double({ min: 0, max: 1, noNaN: true }), (value, part) => {
        const cut = value.slice(0, Math.floor(value.length * part * 0.999));
        expect(read(cut)).toMatchObject([{ kind: 'unreadable', table: null }]);
      }),
    );
  });

  test('in place of any one value of an event leaves it right, unreadable, or of another table', () => {
    type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
    const paths = (value: Json, path: string[] = []): string[][] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).flatMap(([name, inner]) => [
            [...path, name],
            ...paths(inner, [...path, name]),
          ])
        : [];
    const replaced = (value: Json, [name, ...rest]: string[], by: Json): Json => ({
      ...(value as { [name: string]: Json }),
      [name!]: rest.length === 0 ? by : replaced((value as { [name: string]: Json })[name!]!, rest, by),
    });
    const places = whole.flatMap(text => paths(JSON.parse(text)).map(path => [text, path] as const));
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.jsonValue(), ([text, path], by) => {
        const items = read(JSON.stringify(replaced(JSON.parse(text), path, by as Json)));
        expect(isWellFormed(items)).toBe(true);
        const place = path.join('.');
        if (['source.table', 'source.schema', 'source'].includes(place)) return;
        if (place === 'op' && by === 'm') return;
        expect(items).toHaveLength(1);
        // Another value of the key is another key.
        if (path.at(-1) !== 'id' && !['before', 'after'].includes(place)) expect(rightKeys(items)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
