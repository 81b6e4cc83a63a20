const FORM = /^(\d{4}|[1-9]\d{4,6})-(\d\d)-(\d\d)( BC)?$/;

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** The first and the last day that a Postgres `date` holds, each as year (0 = 1 BC), month, day. */
const FIRST = [-4713, 11, 24] as const;
const LAST_YEAR = 5_874_897;

/**
 * Whether `text` is a date exactly as Postgres prints one under `DateStyle ISO`: an existing day of the proleptic
 * Gregorian calendar within a `date`'s range, ` BC` before the year 1, or `infinity`, `-infinity`.
 */
export function isCalendarDate(text: string): boolean {
  if (text === 'infinity' || text === '-infinity') return true;
  const match = FORM.exec(text);
  if (!match) return false;
  const printedYear = Number(match[1]);
  const month = Number(match[2]);
  const day = Number(match[3]);
  if (printedYear === 0 || month < 1 || month > 12) return false;
  const year = match[4] ? 1 - printedYear : printedYear;
  if (day < 1 || day > daysIn(year, month)) return false;
  return year <= LAST_YEAR && !isBefore([year, month, day], FIRST);
}

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);

const daysIn = (year: number, month: number): number => (month === 2 && isLeap(year) ? 29 : DAYS[month - 1]!);

const isBefore = (a: readonly [number, number, number], b: readonly [number, number, number]): boolean =>
  a[0] !== b[0] ? a[0] < b[0] : a[1] !== b[1] ? a[1] < b[1] : a[2] < b[2];
