import { isCalendarDate } from './calendar-date.ts';
import type { Column, TableShape } from './resource.ts';
import { INTEGER_RANGES, TYPE } from './type-oids.ts';

/**
 * What an index row holds without compression, hence the longest key that is certain to exist. A longer one is
 * refused before it costs a query or a cache entry.
 */
export const KEY_BYTES_LIMIT = 2_704;

/** Whether a text is byte for byte what Postgres prints for some value of the type. */
type IsPrinted = (text: string, column: Column) => boolean;

const isInteger: IsPrinted = (text, { typeOid }) => {
  const [least, most] = INTEGER_RANGES.get(typeOid)!;
  if (text.length > String(least).length || !/^(0|-?[1-9]\d*)$/.test(text)) return false;
  const value = BigInt(text);
  return value >= least && value <= most;
};

const isUuid: IsPrinted = text => /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(text);

const isText: IsPrinted = (text, { maxLength }) =>
  !text.includes('\0') &&
  (maxLength === undefined || text.length <= maxLength || [...text].length <= maxLength);

const isLabel: IsPrinted = (text, { labels }) => labels?.includes(text) ?? false;

/**
 * The types a key may be made of: those where two values are equal only when they are printed alike. (`1.0` and
 * `1.00` are one numeric, `a` and `a  ` one char(3), `A` and `a` one citext: such a row would have two keys, and a
 * change only ever reaches one.)
 */
const PRINTED: ReadonlyMap<number, IsPrinted> = new Map([
  [TYPE.int2, isInteger],
  [TYPE.int4, isInteger],
  [TYPE.int8, isInteger],
  [TYPE.uuid, isUuid],
  [TYPE.date, isCalendarDate],
  [TYPE.text, isText],
  [TYPE.varchar, isText],
]);

const printedFormOf = (column: Column): IsPrinted | undefined => {
  if (column.kind === 'array' || column.nondeterministic) return undefined;
  return column.labels ? isLabel : PRINTED.get(column.typeOid);
};

/** Whether rows can be cached under a key of this column: its values are equal exactly when their texts are. */
export const isKeyType = (column: Column): boolean => printedFormOf(column) !== undefined;

/** For messages. */
export const KEY_TYPES =
  'int2, int4, int8, uuid, date, an enum, or text and varchar under a deterministic collation';

/**
 * The key that a path segment names, each part as Postgres prints it; null where no row can have that key, which is
 * a 404 before any look-up: `042`, `+42`, an upper-case uuid, 31 February, an unknown label, `1,2,3` for two columns.
 *
 * `segment` is raw, as it stands in the request line. Parts of a composite key are separated by literal commas; then
 * percent-encoding is undone. `%61` and `a` are the same character of a URL (RFC 3986 6.2.2), so both are taken and
 * lead to one key, because keys are built from the decoded text and nothing else; `rowPath` is the spelling we send.
 */
export function parsePathKey(shape: TableShape, segment: string): string[] | null {
  if (!/^[!-~]*$/.test(segment)) return null;
  const parts = shape.key.length === 1 ? [segment] : segment.split(',');
  if (parts.length !== shape.key.length) return null;
  const key: string[] = [];
  let bytes = 0;
  for (const [i, column] of shape.key.entries()) {
    const text = percentDecoded(parts[i]!);
    if (text === null || !printedFormOf(column)?.(text, column)) return null;
    bytes += Buffer.byteLength(text);
    key.push(text);
  }
  return bytes <= KEY_BYTES_LIMIT ? key : null;
}

/** Null for an incomplete escape and for bytes that are not UTF-8. */
function percentDecoded(part: string): string | null {
  if (!part.includes('%')) return part;
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
