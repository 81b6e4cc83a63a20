import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { DebeziumEnvelopes } from '../../workers/feed/debezium-envelope.ts';
import { quoteLongIntegers } from '../../workers/feed/debezium-json.ts';
import { printerOf } from '../../workers/feed/debezium-value.ts';
import type { Change, FeedItem, Image } from '../../workers/feed/feed.ts';
import { CASES, SCHEMA } from '../feeds/envelope-cases.ts';
import { openBothFeeds } from './both-feeds.ts';

/** A record as it is kept: its bytes as text. */
export interface RecordedRecord {
  readonly partition: number;
  readonly offset: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** A change as JSON can hold it. Its images are those columns that both feeds bring. */
export interface RecordedChange {
  readonly op: string;
  readonly table: string;
  readonly xid: string;
  readonly lsn: string;
  readonly committedMs: number;
  readonly keyBefore: readonly string[] | null;
  readonly keyAfter: readonly string[] | null;
  readonly before: Image | null;
  readonly after: Image | null;
}

/** What some statements became, in Debezium's words and as Postgres' own stream was read. */
export interface Recording {
  readonly name: string;
  readonly statements: readonly string[];
  readonly records: readonly RecordedRecord[];
  readonly changes: readonly RecordedChange[];
}

/** What all recordings have in common. */
export interface RecordedBy {
  readonly topicPrefix: string;
  readonly namespace: string;
  readonly reference: string;
  readonly tables: readonly TableShape[];
}

const folder = fileURLToPath(new URL('../feeds/golden/', import.meta.url));
const COMMON = 'tables';
const fileOf = (name: string): string => `${folder}${name}.json`;
const read = (name: string): unknown => JSON.parse(readFileSync(fileOf(name), 'utf8'));

export const readCommon = (): RecordedBy => read(COMMON) as RecordedBy;

export const readRecordings = (): Recording[] =>
  readdirSync(folder)
    .map(file => file.replace('.json', ''))
    .filter(name => name !== COMMON)
    .map(name => ({ name, ...(read(name) as Omit<Recording, 'name'>) }));

/** Runs every case against a connector of its own. The servers are those of TEST_POSTGRES_URL and TEST_KAFKA_CHAIN_URL. */
export async function recordAll(): Promise<{ common: RecordedBy; recordings: Recording[] }> {
  const feeds = await openBothFeeds(SCHEMA, 1);
  try {
    const recordings: Recording[] = [];
    for (const { name, statements } of CASES) {
      const { items, records } = await feeds.run(statements);
      recordings.push({
        name,
        statements,
        records: records.map(toRecorded),
        changes: halved(changesOf(items), feeds.tables),
      });
    }
    const { topicPrefix, namespace, reference, tables } = feeds;
    return {
      common: { topicPrefix, namespace, reference: String(reference), tables: [...tables.values()] },
      recordings,
    };
  } finally {
    await feeds.close();
  }
}

export function writeRecordings(common: RecordedBy, recordings: readonly Recording[]): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, content: object): void =>
    writeFileSync(fileOf(name), `${JSON.stringify(content, null, 2)}\n`);
  write(COMMON, common);
  for (const { name, ...rest } of recordings) write(name, rest);
}

export const isRecorded = (): boolean => existsSync(fileOf(COMMON));

function toRecorded({ partition, offset, key, value, headers }: KafkaRecord): RecordedRecord {
  const text = (header: KafkaRecord['headers'][string]): string => String([header].flat()[0]);
  return {
    partition,
    offset,
    key: key?.toString() ?? null,
    value: value?.toString() ?? null,
    headers: Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, text(header)])),
  };
}

const fromRecorded = (record: RecordedRecord): KafkaRecord => ({
  ...record,
  key: record.key === null ? null : Buffer.from(record.key),
  value: record.value === null ? null : Buffer.from(record.value),
});

/** What the product makes of recorded envelopes. */
export function decode(
  { topicPrefix, namespace, reference, tables }: RecordedBy,
  records: readonly RecordedRecord[],
): FeedItem[] {
  const served = new Map(tables.map(table => [table.qualified, table]));
  const envelopes = new DebeziumEnvelopes({
    topic: `${topicPrefix}.changes`,
    topicPrefix,
    tables: () => served,
    reference: () => BigInt(reference),
    namespace,
    now: () => 0,
    settledBefore: () => 0n,
    onStrayBeat: ({ offset }, intended) => {
      throw new Error(`the beat at ${offset} was meant for partition ${intended}`);
    },
  });
  return records.flatMap(record => envelopes.read(fromRecorded(record)));
}

/** @throws when something else than changes and messages came. */
export const changesOf = (items: readonly FeedItem[]): Change[] =>
  items.flatMap(item => {
    if (item.kind === 'unreadable') throw item.error;
    return item.kind === 'change' ? [item.change] : [];
  });

/**
 * Changes as both feeds can tell them: one of the primary key as its two halves, since Debezium sends those apart, and
 * images of the columns that keys and tags are made of.
 */
export function halved(
  changes: readonly Change[],
  tables: ReadonlyMap<string, TableShape>,
): RecordedChange[] {
  return changes.flatMap((change): RecordedChange[] => {
    const { op, table, xid, lsn, committedMs, keyBefore, keyAfter } = change;
    const printed = new Set(
      tables.get(table)!.columns.flatMap(column => (printerOf(column) ? [column.name] : [])),
    );
    const told = (image: Image | null): Image | null =>
      image &&
      Object.fromEntries(
        Object.entries(image)
          .filter(([name]) => printed.has(name))
          .toSorted(),
      );
    const frame = { table, xid: String(xid), lsn: String(lsn), committedMs };
    const before = { keyBefore, before: told(change.before) };
    const after = { keyAfter, after: told(change.after) };
    if (op !== 'update' || !keyBefore || String(keyBefore) === String(keyAfter))
      return [{ op, ...frame, ...before, ...after }];
    return [
      { op: 'delete', ...frame, ...before, keyAfter: null, after: null },
      { op: 'insert', ...frame, keyBefore: null, before: null, ...after },
    ];
  });
}

const volatile = new Set(['ts_ms', 'ts_us', 'ts_ns', 'lsn', 'txId', 'sequence', 'name', 'db']);

/** A record without what differs from run to run: of times, places and ids only their types are left. */
export function normalised({ key, value, headers }: RecordedRecord): object {
  const parsed = (json: string): unknown =>
    JSON.parse(quoteLongIntegers(json), (name, member: unknown) =>
      volatile.has(name) && member !== null ? `some ${typeof member}` : member,
    );
  return {
    key,
    value: value === null ? null : parsed(value),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, text]) => [name, name.includes('context') ? 'some text' : text]),
    ),
  };
}

/** A change without what differs from run to run. */
export const steady = ({ xid: _xid, lsn: _lsn, committedMs: _at, ...rest }: RecordedChange): object => rest;
