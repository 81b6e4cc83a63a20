import { FreshetError } from '../errors.ts';

/** A JSON number as it was written, where a double would not print the same: made by `JSON.rawJSON`. */
export interface WrittenNumber {
  readonly rawJSON: string;
}

/** Part of the language since V8 11.4; the library types of TypeScript do not have them yet. */
interface ExactJson {
  rawJSON(text: string): WrittenNumber;
  isRawJSON(value: unknown): value is WrittenNumber;
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
}

const exactJson = JSON as unknown as ExactJson;

/**
 * `JSON.parse` that loses no digit: a number which a double would not print as it was written (`12345678901234567890`,
 * `1.50`, `1e400`) becomes a `WrittenNumber`, which `JSON.stringify` prints as it was and `decodeValue` takes wherever
 * it takes a number. Every other value is what `JSON.parse` makes of it; so `typeof x === 'number'` is not true of
 * every number: ask `isJsonNumber`.
 *
 * What it cannot keep of a `json` column, because objects cannot: whitespace, all but the last of equal keys, and the
 * place of keys that look like an array index. (`jsonb` keeps none of these either.)
 * @throws FreshetError `bad-json` when the text is not JSON or is nested too deeply.
 */
export function parseJsonExactly(text: string): unknown {
  try {
    return exactJson.parse(text, (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined && String(value) !== source
        ? exactJson.rawJSON(source)
        : value,
    );
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    // A RangeError is the stack's end: thousands of brackets within each other.
    const why = cause instanceof RangeError ? 'it is nested too deeply' : cause.message;
    throw new FreshetError({
      code: 'bad-json',
      message: `expected a JSON text, got one that cannot be read: ${why}`,
      hint: 'Check the body for a missing quote, comma or bracket; it has to be UTF-8.',
      cause,
    });
  }
}

export const isWrittenNumber = (value: unknown): value is WrittenNumber => exactJson.isRawJSON(value);

export const isJsonNumber = (value: unknown): value is number | WrittenNumber =>
  typeof value === 'number' || isWrittenNumber(value);

/** The digits of a number as they were written, as far as they are known. */
export const writtenForm = (value: number | WrittenNumber): string =>
  typeof value === 'number' ? (Object.is(value, -0) ? '-0' : String(value)) : value.rawJSON;
