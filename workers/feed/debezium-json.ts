/** Members of a JSON object, unchecked. */
export type Fields = Readonly<Record<string, unknown>>;

/** @throws TypeError when the value is something else than an object. */
export function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw new TypeError(`expected ${what} as a JSON object, got ${shown(value)}`);
}

/** What a JSON text says; with schemas enabled that is wrapped once more. @throws SyntaxError or TypeError. */
export function parseUnwrapped(json: string, what: string): Fields {
  const fields = fieldsOf(JSON.parse(json), what);
  const isWrapped =
    fields.payload !== undefined && fields.schema !== undefined && fields.source === undefined;
  return isWrapped ? fieldsOf(fields.payload, what) : fields;
}

/** For messages: a value of a stranger, not longer than a line. */
export const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 120);

/** A whole number that a double does not hold, or not for certain: 2^53 is what 2^53 + 1 becomes. */
export const isInexact = (value: unknown): boolean =>
  typeof value === 'number' && !Number.isSafeInteger(value);

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
/** The shortest integer that can be beyond 2^53 has as many characters. */
const LONG = 16;

/**
 * A JSON text that was found to be one, with the integers that a double cannot hold made strings of the same digits.
 * (`JSON.parse` gives a reviver each number's text, at five times the cost, which tables of 64-bit ids would pay for
 * every row.)
 */
export function quoteLongIntegers(json: string): string {
  let quoted = '';
  let copied = 0;
  let at = 0;
  while (at < json.length) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      at = behindString(json, at);
    } else if (code === MINUS || isDigit(code)) {
      const end = behindNumber(json, at);
      const number = json.slice(at, end);
      if (end - at >= LONG && isInexact(Number(number)) && /^-?\d+$/.test(number)) {
        quoted += `${json.slice(copied, at)}"${number}"`;
        copied = end;
      }
      at = end;
    } else {
      at += 1;
    }
  }
  return quoted + json.slice(copied);
}

function behindString(json: string, opening: number): number {
  for (let at = opening; ; ) {
    at = json.indexOf('"', at + 1);
    if (at < 0) return json.length;
    let escapes = 0;
    while (json.charCodeAt(at - 1 - escapes) === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at + 1;
  }
}

function behindNumber(json: string, start: number): number {
  let at = start + 1;
  while (at < json.length && isInNumber(json.charCodeAt(at))) at += 1;
  return at;
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

/** Digits, and of fractions and exponents `.`, `e`, `E`, `+`, `-`. */
const isInNumber = (code: number): boolean =>
  isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === MINUS;
