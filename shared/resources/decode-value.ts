import { FreshetError } from '../errors.ts';
import { isCalendarDate } from './calendar-date.ts';
import { isJsonNumber, isWrittenNumber, writtenForm } from './json-exactly.ts';
import type { Column, JsonKind } from './resource.ts';
import { INTEGER_RANGES, TYPE } from './type-oids.ts';

/** What a column takes, in words; and the text of a value, or null where it does not fit. */
interface Decoder {
  readonly expected: string;
  readonly decode: (json: unknown) => string | null;
}

/**
 * A value of a request as the text parameter of a statement; the inverse of `encodeRow`. It checks the JSON type and
 * the form; what only the database knows (lengths, domains, references) stays with the database. Only such forms are
 * taken whose meaning does not depend on when or where they are read: no `now`, no time without its zone.
 * @param json from `parseJsonExactly`, or from `JSON.parse` where digits beyond a double's may be lost.
 * @throws FreshetError `bad-value` naming the column, what was expected and what came.
 */
export function decodeValue(column: Column, json: unknown): string | null {
  if (json === null) return null;
  const decoder = decoderOf(column);
  const text = decoder.decode(json);
  if (text !== null) return text;
  throw new FreshetError({
    code: 'bad-value',
    message: `column ${column.name}: expected ${decoder.expected}, got ${shown(json)}`,
    hint: `Send ${column.name} in the form in which it is read.`,
  });
}

function decoderOf(column: Column): Decoder {
  if (column.kind !== 'array') return scalarDecoder(column.kind, column.typeOid, column);
  const kind = column.elementKind ?? 'string';
  const element = scalarDecoder(kind, column.elementTypeOid ?? 0, column);
  return {
    expected: `an array, each element null or ${element.expected}`,
    decode: json => (Array.isArray(json) ? arrayLiteral(json, element, kind === 'json') : null),
  };
}

function scalarDecoder(kind: JsonKind, typeOid: number, column: Column): Decoder {
  switch (kind) {
    case 'number':
      return integer(typeOid, 'a JSON number that is an integer', false);
    case 'float':
      return float;
    case 'exact-number':
      return digits(typeOid);
    case 'boolean':
      return { expected: 'true or false', decode: json => (typeof json === 'boolean' ? String(json) : null) };
    case 'timestamptz':
      return time('a string like "2026-11-21T10:00:00.123456Z", with its zone', '(Z|[+-]\\d\\d(:?\\d\\d)?)');
    case 'timestamp':
      return time('a string like "2026-11-21T10:00:00.123456", without a zone', '');
    case 'bytea':
      return base64;
    case 'json':
      return { expected: 'any JSON value', decode: json => JSON.stringify(json) ?? null };
    case 'string':
    case 'array':
      return stringDecoder(typeOid, column);
  }
}

function stringDecoder(typeOid: number, column: Column): Decoder {
  if (column.labels) {
    const labels = new Set(column.labels);
    const expected = `one of ${column.labels.map(label => JSON.stringify(label)).join(', ')}`;
    return { expected, decode: json => (typeof json === 'string' && labels.has(json) ? json : null) };
  }
  if (typeOid === TYPE.int8 || typeOid === TYPE.numeric) return digits(typeOid);
  if (typeOid === TYPE.date) {
    return {
      expected: 'a date like "2026-11-21"',
      decode: json => (typeof json === 'string' && isCalendarDate(json) ? json : null),
    };
  }
  return text;
}

const OID_RANGE = [0n, 2n ** 32n - 1n] as const;

function integer(typeOid: number, form: string, takesStrings: boolean): Decoder {
  const [least, most] = INTEGER_RANGES.get(typeOid) ?? OID_RANGE;
  return {
    expected: `${form} from ${least} to ${most}`,
    decode(json) {
      const written =
        takesStrings && typeof json === 'string' ? json : isJsonNumber(json) ? writtenForm(json) : '';
      if (!/^-?\d{1,20}$/.test(written)) return null;
      // A double beyond 2^53 is already another number than the one that was sent.
      if (typeof json === 'number' && !Number.isSafeInteger(json)) return null;
      const value = BigInt(written);
      return value >= least && value <= most ? String(value) : null;
    },
  };
}

/** int8 and numeric: exact as strings, and as numbers as long as they are exact. */
const digits = (typeOid: number): Decoder =>
  typeOid === TYPE.int8 ? integer(TYPE.int8, 'an integer, best as a string,', true) : numeric;

const DECIMAL = /^-?\d+(\.\d+)?([eE][+-]?\d{1,5})?$/;
const NOT_FINITE = new Set(['NaN', 'Infinity', '-Infinity']);

const numeric: Decoder = {
  expected: 'a number, best as a string like "12.50"',
  decode(json) {
    const written = typeof json === 'string' ? json : isJsonNumber(json) ? writtenForm(json) : '';
    return DECIMAL.test(written) || (typeof json === 'string' && NOT_FINITE.has(json)) ? written : null;
  },
};

const float: Decoder = {
  expected: 'a JSON number, or "NaN", "Infinity", "-Infinity"',
  decode(json) {
    if (typeof json === 'string') return NOT_FINITE.has(json) ? json : null;
    // 1e400 is a JSON number that no double holds.
    return isJsonNumber(json) && Number.isFinite(Number(writtenForm(json))) ? writtenForm(json) : null;
  },
};

function time(expected: string, zone: string): Decoder {
  const form = new RegExp(
    `^(-?infinity|\\d{4,6}-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?${zone}( BC)?)$`,
  );
  return { expected, decode: json => (typeof json === 'string' && form.test(json) ? json : null) };
}

const base64: Decoder = {
  expected: 'a string of base64',
  decode(json) {
    if (typeof json !== 'string') return null;
    const bytes = Buffer.from(json, 'base64');
    // Buffer skips what is not base64; only what comes back the same was.
    return bytes.toString('base64') === json ? `\\x${bytes.toString('hex')}` : null;
  },
};

/** Postgres stores neither U+0000 nor half a surrogate pair; the latter would silently become U+FFFD. */
const text: Decoder = {
  expected: 'a string (without U+0000 and lone surrogates)',
  decode: json => (typeof json === 'string' && !json.includes('\0') && json.isWellFormed() ? json : null),
};

/** `isFlat`: the elements are JSON themselves, so that an array in an array is an element, not a dimension. */
function arrayLiteral(items: readonly unknown[], element: Decoder, isFlat: boolean): string | null {
  const parts: string[] = [];
  for (const item of items) {
    const part =
      item === null
        ? 'NULL'
        : Array.isArray(item) && !isFlat
          ? arrayLiteral(item, element, isFlat)
          : quoted(element.decode(item));
    if (part === null) return null;
    parts.push(part);
  }
  return `{${parts.join(',')}}`;
}

const quoted = (text: string | null): string | null =>
  text === null ? null : `"${text.replaceAll(/["\\]/g, '\\$&')}"`;

const SHOWN_LENGTH = 60;

/** A value for a message: its JSON, cut where it gets long. */
function shown(json: unknown): string {
  const whole = isWrittenNumber(json) ? json.rawJSON : (JSON.stringify(json) ?? String(json));
  return whole.length <= SHOWN_LENGTH ? whole : `${whole.slice(0, SHOWN_LENGTH)}…`;
}
