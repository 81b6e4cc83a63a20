import { FreshetError } from '../errors.ts';
import type { Column, JsonKind } from './resource.ts';

/** Texts of one row, in the order of the columns it was made for → the canonical JSON object. */
export type RowEncoder = (texts: readonly (string | null)[]) => string;

/** What stands for a value that is not NULL. */
type Encode = (text: string) => string;

/**
 * Compiles a column list once: keys in declared order, no whitespace. Equal rows give equal bytes in every process.
 * @throws (the encoder) FreshetError `inexact-number`, `session-settings`; RangeError when texts and columns differ in number.
 */
export function rowEncoder(columns: readonly Column[]): RowEncoder {
  const heads = columns.map((column, i) => `${i === 0 ? '{' : ','}${JSON.stringify(column.name)}:`);
  const encoders = columns.map(encoderOf);
  return texts => {
    if (texts.length !== heads.length) {
      throw new RangeError(`expected ${heads.length} values in a row, got ${texts.length}`);
    }
    let json = heads.length === 0 ? '{' : '';
    for (let i = 0; i < heads.length; i++) {
      const text = texts[i]!;
      json += heads[i]! + (text === null ? 'null' : encoders[i]!(text));
    }
    return `${json}}`;
  };
}

const compiled = new WeakMap<readonly Column[], RowEncoder>();

/** The canonical JSON of a row; `rowEncoder` remembered by the identity of the column list. */
export function encodeRow(columns: readonly Column[], texts: readonly (string | null)[]): string {
  let encode = compiled.get(columns);
  if (!encode) {
    encode = rowEncoder(columns);
    compiled.set(columns, encode);
  }
  return encode(texts);
}

const quote: Encode = text => JSON.stringify(text);
const asPrinted: Encode = text => text;

function encoderOf(column: Column): Encode {
  if (column.kind !== 'array') return scalarEncoder(column.kind, column);
  const element = scalarEncoder(column.elementKind ?? 'string', column);
  return text => encodeArray(text, element);
}

function scalarEncoder(kind: JsonKind, column: Column): Encode {
  switch (kind) {
    case 'number':
    case 'json':
      return asPrinted;
    case 'float':
      return text => (isFiniteNumber(text) ? text : `"${text}"`);
    case 'exact-number':
      return text => encodeExactNumber(text, column);
    case 'boolean':
      return text => (text === 't' || text === 'true' ? 'true' : 'false');
    case 'timestamptz':
      return text => encodeTimestamptz(text, column);
    case 'timestamp':
      return text => `"${isOrdinaryTime(text) ? isoTimestamp(text) : text}"`;
    case 'bytea':
      return text => `"${Buffer.from(text.slice(2), 'hex').toString('base64')}"`;
    case 'string':
    case 'array':
      return quote;
  }
}

/** `NaN`, `Infinity` and `-Infinity` are what Postgres prints besides digits. */
const isFiniteNumber = (text: string): boolean => !text.endsWith('N') && !text.endsWith('y');

/** Neither `infinity` nor before the year 1: those have no ISO form that clients agree on, and stay as printed. */
const isOrdinaryTime = (text: string): boolean => !text.endsWith('y') && !text.endsWith('C');

const CLOCK_LENGTH = '10:00:00.123456'.length;

/** `2026-11-21 10:00:00.5` → `2026-11-21T10:00:00.500000` */
function isoTimestamp(text: string): string {
  const space = text.indexOf(' ');
  const clock = text.slice(space + 1);
  return `${text.slice(0, space)}T${(clock.includes('.') ? clock : `${clock}.`).padEnd(CLOCK_LENGTH, '0')}`;
}

function encodeTimestamptz(text: string, column: Column): string {
  if (!isOrdinaryTime(text)) return `"${text}"`;
  if (!text.endsWith('+00')) {
    throw new FreshetError({
      code: 'session-settings',
      message: `column ${column.name}: expected a time in UTC, got ${text}`,
      hint: 'The connection that read it has another TimeZone than UTC; SET TimeZone has no place on it.',
    });
  }
  return `"${isoTimestamp(text.slice(0, -3))}Z"`;
}

/** A number is exact where reading it as a double and printing that again gives the same; integers up to 2^53 - 1. */
function encodeExactNumber(text: string, column: Column): string {
  if (!isFiniteNumber(text)) return `"${text}"`;
  const number = Number(text);
  const isWithin = !Number.isInteger(number) || Number.isSafeInteger(number);
  if (isWithin && digitsOf(text) === digitsOf(String(number))) return text;
  throw new FreshetError({
    code: 'inexact-number',
    message: `column ${column.name} is declared to be a JSON number, but ${text} has no exact one`,
    hint: `Remove "${column.name}" from the resource's numbers: it is then a string and keeps every digit.`,
  });
}

/** Sign, significant digits and exponent as one text: equal for `1.50` and `1.5`, for `0.00001` and `1e-5`. */
function digitsOf(text: string): string {
  const [, sign, whole, fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/.exec(text) ?? [];
  if (whole === undefined) return text;
  const significant = (whole + fraction).replace(/^0+/, '');
  const trimmed = significant.replace(/0+$/, '');
  if (trimmed === '') return '0';
  return `${sign}${trimmed}e${Number(exponent) - fraction.length + significant.length - trimmed.length}`;
}

const QUOTE = 34;
const BACKSLASH = 92;

/** `{1,NULL,"a,b"}`, `[2:3]={{x},{y}}` → a JSON array. One pass: long arrays are ordinary here. */
function encodeArray(text: string, encode: Encode): string {
  // Lower bounds other than 1 are printed before the braces.
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  let json = '';
  while (at < text.length) {
    const char = text[at]!;
    if (char === '{' || char === '}' || char === ',') {
      json += char === '{' ? '[' : char === '}' ? ']' : ',';
      at += 1;
    } else if (char === '"') {
      const end = closingQuote(text, at + 1);
      const inner = text.slice(at + 1, end);
      json += encode(inner.includes('\\') ? inner.replaceAll(/\\(.)/gs, '$1') : inner);
      at = end + 1;
    } else {
      const end = endOfBare(text, at);
      const bare = text.slice(at, end);
      json += bare === 'NULL' ? 'null' : encode(bare);
      at = end;
    }
  }
  return json;
}

function closingQuote(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at;
}

function endOfBare(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== ',' && text[at] !== '}') at += 1;
  return at;
}
