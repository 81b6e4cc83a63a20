import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { DebeziumEnvelopes } from '../../workers/feed/debezium-envelope.ts';
import { quoteLongIntegers } from '../../workers/feed/debezium-json.ts';
import { printerOf, UNAVAILABLE } from '../../workers/feed/debezium-value.ts';
import type { Change, FeedItem, Image } from '../../workers/feed/feed.ts';
import type { BothFeeds } from './both-feeds.ts';

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

/** Returns the folder. */
export function writeRecordings(common: RecordedBy, recordings: readonly Recording[]): string {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, content: object): void =>
    writeFileSync(fileOf(name), `${JSON.stringify(content, null, 2)}\n`);
  write(COMMON, common);
  for (const { name, ...rest } of recordings) write(name, rest);
  return folder;
}

export const isRecorded = (): boolean => existsSync(fileOf(COMMON));

const fromRecorded = (record: RecordedRecord): KafkaRecord => ({
  ...record,
  key: record.key === null ? null : Buffer.from(record.key),
  value: record.value === null ? null : Buffer.from(record.value),
});

/** What the product makes of recorded envelopes. */
export const decode = (
  { topicPrefix, namespace, reference, tables }: RecordedBy,
  records: readonly RecordedRecord[],
): FeedItem[] =>
  decodeRecords(
    {
      topicPrefix,
      namespace,
      reference: BigInt(reference),
      tables: new Map(tables.map(table => [table.qualified, table])),
    },
    records.map(fromRecorded),
  );

/** What the product makes of the records of a connector. */
export function decodeRecords(
  connector: Pick<BothFeeds, 'topicPrefix' | 'namespace' | 'reference' | 'tables'>,
  records: readonly KafkaRecord[],
): FeedItem[] {
  const { topicPrefix, namespace, reference, tables } = connector;
  const envelopes = new DebeziumEnvelopes({
    topic: `${topicPrefix}.changes`,
    topicPrefix,
    tables: () => tables,
    reference: () => reference,
    namespace,
    now: () => 0,
    settledBefore: () => 0n,
    onStrayBeat: ({ offset }, intended) => {
      throw new Error(`the beat at ${offset} was meant for partition ${intended}`);
    },
  });
  return records.flatMap(record => envelopes.read(record));
}

/** @throws when something else than changes and messages came. */
export const changesOf = (items: readonly FeedItem[]): Change[] =>
  items.flatMap(item => {
    if (item.kind === 'unreadable') throw item.error;
    return item.kind === 'change' ? [item.change] : [];
  });

/**
 * Changes as both feeds can tell them: one of the primary key as its two halves, since Debezium sends those apart;
 * images of the columns that keys and tags are made of, what did not change out of line taken from the row before,
 * and texts that look like Debezium's word for that unknown, as they are to it.
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
    const told = (image: Image): Image =>
      Object.fromEntries(
        Object.entries(image)
          .filter(([name, text]) => printed.has(name) && text !== UNAVAILABLE)
          .toSorted(([a], [b]) => (a < b ? -1 : 1)),
      );
    const frame = { table, xid: String(xid), lsn: String(lsn), committedMs };
    const before = { keyBefore, before: change.before && told(change.before) };
    const after = { keyAfter, after: change.after && told({ ...change.before, ...change.after }) };
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
