import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import { FIRST_NORMAL_XID, widen, XID_LIMIT, type Xid } from '../../shared/protocol/xid.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { BEAT_PREFIX, parseBeat, partitionOfPrefix } from './beat-message.ts';
import { changeOf } from './debezium-change.ts';
import {
  type Fields,
  fieldsOf,
  isInexact,
  parseUnwrapped,
  quoteLongIntegers,
  shown,
} from './debezium-json.ts';
import { RowReader } from './debezium-row.ts';
import type { FeedItem } from './feed.ts';

export interface DebeziumEnvelopesOptions {
  /** For messages: where a record lies. */
  readonly topic: string;
  /** The connector's `topic.prefix`: what any other connector wrote is not about this database. */
  readonly topicPrefix: string;
  /** Tables that are served, by qualified name; others are passed over. */
  readonly tables: () => ReadonlyMap<string, TableShape>;
  /** Any recent 64-bit transaction id, to widen the events' 32 bits by. */
  readonly reference: () => Xid;
  /** Whose beats count. */
  readonly namespace: string;
  readonly now: () => number;
  /** Offsets of the partition below it were settled once; 0 while that is not known. */
  readonly settledBefore: (partition: number) => bigint;
  /** One of our beats lies in another partition than it was meant for: partitions were added, or hashes changed. */
  readonly onStrayBeat: (record: KafkaRecord, intended: number) => void;
}

/** Transaction ids of the stream are the low half of Postgres' own. */
const LOW_XID_LIMIT = 2 ** 32;

/** How much of a record that cannot be read is kept, for people. */
const RAW_LIMIT_BYTES = 1_048_576;

/** What of a record is certain, however the rest of it turns out. */
interface Known {
  table: string | null;
  xid: Xid | null;
}

/**
 * Turns the records of Debezium's Postgres connector into feed items: JSON without schemas, dates as ISO strings, one
 * topic for all tables and messages. Pure but for the clock and the reference it is given.
 *
 * A change of a primary key comes as two records, the old key's delete and the new key's insert, each in the partition
 * of its key. Each says by itself what it makes wrong, so neither waits for the other.
 */
export class DebeziumEnvelopes {
  readonly #options: DebeziumEnvelopesOptions;
  #tables: ReadonlyMap<string, TableShape> | null = null;
  /** Served tables by schema and name, as events name them. */
  #readers = new Map<string, RowReader>();

  constructor(options: DebeziumEnvelopesOptions) {
    this.#options = options;
  }

  /** Items of one record. Never throws: what cannot be read is an item too. */
  read(record: KafkaRecord): FeedItem[] {
    // A tombstone says nothing that the delete before it did not say.
    if (record.value === null) return [];
    const known: Known = { table: null, xid: null };
    try {
      return this.#items(record, record.value.toString(), known);
    } catch (error) {
      return [this.#unreadable(record, record.value, known, error)];
    }
  }

  #items(record: KafkaRecord, json: string, known: Known): FeedItem[] {
    let envelope = parseUnwrapped(json, 'an event');
    let source = this.#ownSource(envelope);
    if (envelope.op === 'm') return this.#beat(record, envelope, source, known);
    const reader = this.#reader(source);
    if (!reader) return [];
    known.table = reader.qualified;
    // A snapshot's own transaction has nothing to do with the rows it finds.
    known.xid = envelope.op === 'r' ? null : this.#xidOf(source.txId);
    let before = rowOf(envelope.before, 'before');
    let after = rowOf(envelope.after, 'after');
    if (reader.isInexact(after) || reader.isInexact(before) || isInexact(source.lsn)) {
      envelope = parseUnwrapped(quoteLongIntegers(json), 'an event');
      source = this.#ownSource(envelope);
      before = rowOf(envelope.before, 'before');
      after = rowOf(envelope.after, 'after');
    }
    const change = changeOf({ op: envelope.op, source, before, after, xid: known.xid, reader, record });
    return [{ kind: 'change', partition: record.partition, change, receivedMs: this.#options.now() }];
  }

  #beat(record: KafkaRecord, envelope: Fields, source: Fields, known: Known): FeedItem[] {
    const { prefix, content } = fieldsOf(envelope.message, 'a message');
    if (typeof prefix !== 'string') throw new TypeError(`expected a message's prefix, got ${shown(prefix)}`);
    if (!prefix.startsWith(BEAT_PREFIX)) return [];
    // Only a message that was written by a transaction has one.
    known.xid = source.txId == null ? null : this.#xidOf(source.txId);
    if (typeof content !== 'string')
      throw new TypeError(`expected a beat's content as base64, got ${shown(content)}`);
    const beat = parseBeat(Buffer.from(content, 'base64'), this.#options.namespace);
    if (beat === null) return [];
    const { partition } = record;
    const intended = partitionOfPrefix(prefix);
    if (intended !== partition) {
      this.#options.onStrayBeat(record, intended);
      return [];
    }
    const { settledBefore } = this.#options;
    const offset = BigInt(record.offset);
    return [
      {
        kind: 'beat',
        partition,
        beat,
        get again() {
          return offset < settledBefore(partition);
        },
      },
    ];
  }

  /** @throws TypeError for an event of another connector: neither its tables nor its transactions are ours. */
  #ownSource(envelope: Fields): Fields {
    const source = fieldsOf(envelope.source, 'the source of an event');
    const { topicPrefix } = this.#options;
    if (source.connector === 'postgresql' && source.name === topicPrefix) return source;
    throw new TypeError(
      `expected an event of the postgresql connector ${topicPrefix}, got one of ${shown(source.connector)} ${shown(source.name)}`,
    );
  }

  /** Null for a table that is not served. */
  #reader({ schema, table }: Fields): RowReader | null {
    if (typeof schema !== 'string' || typeof table !== 'string' || table === '')
      throw new TypeError(`expected an event to name a table, got ${shown(schema)} ${shown(table)}`);
    const tables = this.#options.tables();
    if (tables !== this.#tables) {
      // Resources were read again: what is served, and by which key, may be another thing now.
      this.#readers = new Map([...tables.values()].map(shape => [nameOf(shape), new RowReader(shape)]));
      this.#tables = tables;
    }
    return this.#readers.get(nameOf({ schema, name: table })) ?? null;
  }

  /** @throws RangeError for an id that no transaction of this database can have. */
  #xidOf(txId: unknown): Xid {
    if (
      typeof txId === 'number' &&
      Number.isInteger(txId) &&
      txId >= FIRST_NORMAL_XID &&
      txId < LOW_XID_LIMIT
    ) {
      const xid = widen(txId, this.#options.reference());
      if (xid >= FIRST_NORMAL_XID && xid < XID_LIMIT) return xid;
    }
    throw new RangeError(`expected a 32-bit transaction id, got ${shown(txId)}`);
  }

  #unreadable(record: KafkaRecord, value: Buffer, { table, xid }: Known, error: unknown): FeedItem {
    const { partition, offset } = record;
    return {
      kind: 'unreadable',
      partition,
      table,
      xid,
      place: `${this.#options.topic}/${partition}@${offset}`,
      raw: Buffer.from(value.subarray(0, RAW_LIMIT_BYTES)),
      error:
        value.length <= RAW_LIMIT_BYTES
          ? error
          : new Error(
              `${(error as Error).message} (the first ${RAW_LIMIT_BYTES} of ${value.length} bytes are kept)`,
              { cause: error },
            ),
    };
  }
}

const nameOf = ({ schema, name }: Pick<TableShape, 'schema' | 'name'>): string => `${schema}\0${name}`;

/** A row before or after; null where the event has none. */
const rowOf = (row: unknown, what: string): Fields | null =>
  row == null ? null : fieldsOf(row, `the row ${what}`);
