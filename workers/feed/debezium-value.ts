import { isCalendarDate } from '../../shared/resources/calendar-date.ts';
import type { Column } from '../../shared/resources/resource.ts';
import { TYPE } from '../../shared/resources/type-oids.ts';

/**
 * The text that Postgres prints for a value of an envelope, null for NULL. Undefined where the envelope does not say
 * it: the column is missing, was not logged because it did not change, or has a form that no connector gives it.
 */
export type Printer = (value: unknown) => string | null | undefined;

/**
 * What Debezium puts in place of an out-of-line value that an update left alone (`unavailable.value.placeholder`).
 * A text that happens to be this one is taken for unknown too, which is never wrong.
 */
export const UNAVAILABLE = '__debezium_unavailable_value';

const printText: Printer = value =>
  value === null || (typeof value === 'string' && value !== UNAVAILABLE) ? value : undefined;

/** Numbers that a double does not hold come as strings: see `quoteLongIntegers`. */
const printInteger: Printer = value => {
  if (value === null) return null;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined;
  return typeof value === 'string' && /^-?[1-9]\d{0,18}$/.test(value) ? value : undefined;
};

const printBoolean: Printer = value => {
  if (typeof value === 'boolean') return value ? 't' : 'f';
  return value === null ? null : undefined;
};

const ISO_DATE = /^([+-]?)(\d{4,7})(-\d\d-\d\d)Z?$/;

/** Debezium's dates are those of ISO 8601: the year before 0001 is 0000, that before -0001, and `+` stands before five digits. */
const printDate: Printer = value => {
  if (value === null) return null;
  const match = typeof value === 'string' ? ISO_DATE.exec(value) : null;
  if (!match) return undefined;
  const [, sign, year, monthAndDay] = match as unknown as [string, string, string, string];
  // The least and the greatest day that a 32-bit count from 1970 reaches, far outside of what Postgres holds.
  if (year === '5877611') return sign === '-' ? '-infinity' : 'infinity';
  const isBeforeChrist = sign === '-' || year === '0000';
  const printed = isBeforeChrist
    ? `${String(Number(year) + 1).padStart(4, '0')}${monthAndDay} BC`
    : `${year}${monthAndDay}`;
  return isCalendarDate(printed) ? printed : undefined;
};

const PRINTERS: ReadonlyMap<number, Printer> = new Map([
  [TYPE.int2, printInteger],
  [TYPE.int4, printInteger],
  [TYPE.int8, printInteger],
  [TYPE.bool, printBoolean],
  [TYPE.uuid, printText],
  [TYPE.date, printDate],
  [TYPE.text, printText],
  [TYPE.varchar, printText],
]);

/**
 * How to print a column's values; null for the types that neither keys nor tags are made of. Those are left out, since
 * not all of them can be told from what Debezium makes of them: `1.0` and `1` are one float, a uuid array that did not
 * change is one made-up uuid, and one of dates is NULL.
 */
export function printerOf(column: Column): Printer | null {
  if (column.kind === 'array') return null;
  return column.labels ? printText : (PRINTERS.get(column.typeOid) ?? null);
}
