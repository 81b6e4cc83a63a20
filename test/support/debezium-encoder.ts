import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { Column, TableShape } from '../../shared/resources/resource.ts';
import { TYPE } from '../../shared/resources/type-oids.ts';

/**
 * A model of what Debezium's Postgres connector and Kafka's JSON converter write, beside the recordings: it writes what
 * no recording happened to hold.
 */

/** A row by column: the text that Postgres prints, or null. A column that is missing did not change out of line. */
export type PrintedRow = Readonly<Record<string, string | null>>;

export const UNCHANGED = '__debezium_unavailable_value';

const wholeNumbers: readonly number[] = [TYPE.int2, TYPE.int4, TYPE.int8, TYPE.oid];

/** The date `44-03-15 BC` as ISO 8601 counts years: -43. */
function isoDate(text: string): string {
  if (text === 'infinity') return '+5877611-06-21Z';
  if (text === '-infinity') return '-5877611-06-22Z';
  const [, printed, rest, era] = /^(\d+)(-\d\d-\d\d)( BC)?$/.exec(text)!;
  const year = era ? 1 - Number(printed) : Number(printed);
  const digits = String(Math.abs(year)).padStart(4, '0');
  return `${year < 0 ? '-' : year > 9_999 ? '+' : ''}${digits}${rest}Z`;
}

/** JSON of one value. */
export function valueJson(column: Column, text: string | null | undefined): string {
  if (text === undefined) return JSON.stringify(UNCHANGED);
  if (text === null) return 'null';
  if (column.kind === 'array') return JSON.stringify(text.slice(1, -1).split(','));
  if (wholeNumbers.includes(column.typeOid)) return text;
  if (column.typeOid === TYPE.bool) return text === 't' ? 'true' : 'false';
  if (column.typeOid === TYPE.date) return JSON.stringify(isoDate(text));
  if (column.typeOid === TYPE.float8) return Number(text).toExponential().replace('e', 'E');
  return JSON.stringify(text);
}

const objectJson = (members: readonly (readonly [string, string])[]): string =>
  `{${members.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(',')}}`;

export const rowJson = (columns: readonly Column[], row: PrintedRow): string =>
  objectJson(columns.map(column => [column.name, valueJson(column, row[column.name])]));

/** A row before as the log gives it: beyond its identity NULLs, and zeros where those are not allowed. */
export function identityJson(shape: TableShape, row: PrintedRow): string {
  const isLogged = (column: Column): boolean =>
    shape.replicaIdentity === 'full' || shape.key.includes(column);
  const filler = (column: Column): string => {
    if (!column.notNull) return 'null';
    return column.kind === 'number' ? '0' : column.typeOid === TYPE.bool ? 'false' : '""';
  };
  return objectJson(
    shape.columns.map(column => [
      column.name,
      isLogged(column) ? valueJson(column, row[column.name]) : filler(column),
    ]),
  );
}

export interface EventOptions {
  readonly op: string;
  readonly table: TableShape;
  /** JSON texts. */
  readonly before?: string;
  readonly after?: string;
  /** Members of `source` to replace, as JSON texts; `undefined` leaves one out. */
  readonly source?: Readonly<Record<string, string | undefined>>;
  /** Further members, or replaced ones, as JSON texts; `undefined` leaves one out. */
  readonly rest?: Readonly<Record<string, string | undefined>>;
}

export const xid = 765;
export const lsn = 25_044_432;
export const commitUs = 1_795_270_211_540_841;

function sourceJson(schema: string, table: string, replaced: EventOptions['source'] = {}): string {
  return membersJson({
    version: '"3.7.0.Final"',
    connector: '"postgresql"',
    name: '"freshet"',
    ts_ms: String(Math.floor(commitUs / 1000)),
    snapshot: 'null',
    db: '"postgres"',
    sequence: JSON.stringify(JSON.stringify([null, String(lsn)])),
    ts_us: String(commitUs),
    ts_ns: `${commitUs}000`,
    schema: JSON.stringify(schema),
    table: JSON.stringify(table),
    txId: String(xid),
    lsn: String(lsn),
    xmin: 'null',
    origin: 'null',
    origin_lsn: 'null',
    ...replaced,
  });
}

const membersJson = (members: Readonly<Record<string, string | undefined>>): string =>
  objectJson(
    Object.entries(members).flatMap(([name, json]) => (json === undefined ? [] : [[name, json] as const])),
  );

/** The JSON text of an event. */
export const eventJson = ({ op, table, before, after, source, rest }: EventOptions): string =>
  membersJson({
    before: before ?? 'null',
    after: after ?? 'null',
    source: sourceJson(table.schema, table.name, source),
    transaction: 'null',
    op: JSON.stringify(op),
    ts_ms: '1795270211567',
    ts_us: '1795270211567990',
    ts_ns: '1795270211567990183',
    ...rest,
  });

/** The JSON text of a logical message's event. */
export const messageJson = (
  prefix: string,
  content: string,
  source: EventOptions['source'] = { txId: 'null' },
): string =>
  membersJson({
    op: '"m"',
    ts_ms: '1795270211622',
    source: sourceJson('', '', source),
    transaction: 'null',
    message: membersJson({
      prefix: JSON.stringify(prefix),
      content: JSON.stringify(Buffer.from(content).toString('base64')),
    }),
  });

export const recordOf = (value: string | Buffer | null, rest: Partial<KafkaRecord> = {}): KafkaRecord => ({
  partition: 0,
  offset: '7',
  key: null,
  value: typeof value === 'string' ? Buffer.from(value) : value,
  headers: {},
  ...rest,
});
