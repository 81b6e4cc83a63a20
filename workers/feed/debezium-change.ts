import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { Xid } from '../../shared/protocol/xid.ts';
import { type Fields, parseUnwrapped, quoteLongIntegers, shown } from './debezium-json.ts';
import type { RowReader } from './debezium-row.ts';
import type { Change } from './feed.ts';

/** An event of a served table, its transaction known. */
export interface RowEvent {
  readonly op: unknown;
  readonly source: Fields;
  readonly before: Fields | null;
  readonly after: Fields | null;
  readonly xid: Xid | null;
  readonly reader: RowReader;
  readonly record: KafkaRecord;
}

const OPS: ReadonlyMap<unknown, Change['op']> = new Map([
  ['c', 'insert'],
  ['u', 'update'],
  // A row of a snapshot: it is now as it says, and nobody knows since which transaction.
  ['r', 'update'],
  ['d', 'delete'],
  ['t', 'truncate'],
]);

/** @throws TypeError or RangeError for an event that does not say which row it is about, or where it lies. */
export function changeOf(event: RowEvent): Change {
  const { source, xid, reader, record } = event;
  const op = OPS.get(event.op);
  if (op === undefined)
    throw new TypeError(`expected an event of kind c, u, d, r, t or m, got ${shown(event.op)}`);
  const frame = {
    op,
    table: reader.qualified,
    xid,
    lsn: lsnOf(source.lsn),
    committedMs: committedMsOf(source),
  };
  if (op === 'truncate') return { ...frame, keyBefore: null, keyAfter: null, before: null, after: null };
  const before = op === 'insert' ? null : event.before;
  const after = op === 'delete' ? null : event.after;
  if (op !== 'delete' && after === null)
    throw new TypeError(`a change of ${reader.qualified} came without the row after it`);
  return {
    ...frame,
    keyBefore: op === 'delete' || before ? keyBeforeOf(op, before, reader, record) : null,
    keyAfter: after && keyAfterOf(after, before, reader, record),
    get before() {
      return before && reader.imageBefore(before);
    },
    get after() {
      return after && reader.imageAfter(after);
    },
  };
}

function keyBeforeOf(
  op: Change['op'],
  before: Fields | null,
  reader: RowReader,
  record: KafkaRecord,
): readonly string[] {
  // Only of a delete is the record's key the old one.
  return reader.key(before) ?? certain(op === 'delete' ? reader.key(before, keyRow(record)) : null, reader);
}

/** A key long enough to be stored out of line and not touched is in the row before, in the record's keys, or nowhere. */
function keyAfterOf(
  after: Fields,
  before: Fields | null,
  reader: RowReader,
  record: KafkaRecord,
): readonly string[] {
  return reader.key(after) ?? certain(reader.key(after, before, keyRow(record), oldKeyRow(record)), reader);
}

function certain(key: readonly string[] | null, reader: RowReader): readonly string[] {
  if (key) return key;
  throw new TypeError(`a change of ${reader.qualified} came without its primary key`);
}

/** The record's own key: of a delete the old row's, else the new one's. */
const keyRow = ({ key }: KafkaRecord): Fields | null => (key === null ? null : parseKey(key.toString()));

/** Beside the insert that is the second half of a key change. */
function oldKeyRow({ headers }: KafkaRecord): Fields | null {
  const [header] = [headers['__debezium.oldkey']].flat();
  return header === undefined ? null : parseKey(header.toString());
}

const parseKey = (json: string): Fields => parseUnwrapped(quoteLongIntegers(json), "a record's key");

function lsnOf(lsn: unknown): bigint {
  if (typeof lsn === 'number' && Number.isSafeInteger(lsn) && lsn >= 0) return BigInt(lsn);
  if (typeof lsn === 'string' && /^[1-9]\d{15,18}$/.test(lsn)) return BigInt(lsn);
  throw new RangeError(`expected a place in the log, got ${shown(lsn)}`);
}

/** When the transaction was committed. */
function committedMsOf({ ts_us: us, ts_ms: ms }: Fields): number {
  if (typeof us === 'number') return us / 1000;
  if (typeof ms === 'number') return ms;
  throw new TypeError(`expected the time of the commit, got ${shown(us)} and ${shown(ms)}`);
}
