import { z } from 'zod';
import { FreshetError } from '../../shared/errors.ts';
import { isWrittenNumber, parseJsonExactly } from '../../shared/resources/json-exactly.ts';
import { nearMiss } from '../../shared/resources/near-miss.ts';
import type { Column, Resource } from '../../shared/resources/resource.ts';
import { decodeValue } from '../../shared/resources/values.ts';
import { type BodyFault, ProblemError } from '../http/problem.ts';
import { invalidBody, missingBody, notAnObject, notUtf8 } from '../http/problems.ts';

/** The object in a body as it came: column → value. */
export type Body = Readonly<Record<string, unknown>>;

/** Columns that a body names → new value as Postgres reads it, null for NULL. */
export type ColumnTexts = ReadonlyMap<string, string | null>;

/** The object in a body, each number with all its digits. @throws ProblemError 400, FreshetError `bad-json`. */
export function parseBody(bytes: Buffer | undefined): Body {
  if (bytes === undefined || bytes.length === 0) throw new ProblemError(missingBody);
  const value = parseJsonExactly(decodeUtf8(bytes));
  const kind = kindOf(value);
  if (kind !== 'object') throw new ProblemError(notAnObject(kind));
  // Without a prototype, `constructor` is a member that is not there, like any other.
  return Object.assign(Object.create(null), value);
}

/**
 * A body against the allow-list of a resource: writable columns only, each with a value of its type. All faults are
 * told in one answer.
 * @throws ProblemError 400 `invalid-body`
 */
export function readColumns(resource: Resource, body: Body): ColumnTexts {
  return check(allowListOf(resource, writableLists, isWritable), body, resource);
}

/**
 * The same for a body that is the whole row `key`: it may repeat the key's columns, even read-only ones, as long as
 * they say what the path says. The result does not hold them.
 */
export function readRow(resource: Resource, key: readonly string[], body: Body): ColumnTexts {
  const isKey = (name: string): boolean => resource.table.key.some(column => column.name === name);
  const list = allowListOf(resource, rowLists, (resource, name) => isKey(name) || isWritable(resource, name));
  const texts = new Map(check(list, body, resource));
  const faults = resource.table.key.flatMap(({ name }, i) => {
    const text = texts.get(name);
    texts.delete(name);
    return text === undefined || text === key[i] ? [] : [keyMismatch(name, text, key[i]!)];
  });
  if (faults.length > 0) throw new ProblemError(invalidBody(faults));
  return texts;
}

const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'array' : isWrittenNumber(value) ? 'number' : typeof value;

const decodeUtf8 = (bytes: Buffer): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProblemError(notUtf8);
  }
};

const isWritable = (resource: Resource, name: string): boolean => !resource.readOnly.has(name);

/** Column → text of its value; anything else is an issue. */
type AllowList = z.ZodType<Record<string, string | null>>;
type AllowLists = WeakMap<Resource, AllowList>;

const writableLists: AllowLists = new WeakMap();
const rowLists: AllowLists = new WeakMap();

function allowListOf(
  resource: Resource,
  lists: AllowLists,
  takes: (resource: Resource, name: string) => boolean,
): AllowList {
  let list = lists.get(resource);
  if (!list) {
    const members = resource.columns.map(column => {
      const value = takes(resource, column.name) ? textOf(column) : readOnly(column);
      return [column.name, value.optional()];
    });
    list = z.strictObject(Object.fromEntries(members)) as z.ZodType as AllowList;
    lists.set(resource, list);
  }
  return list;
}

function check(list: AllowList, body: Body, resource: Resource): ColumnTexts {
  const parsed = list.safeParse(body);
  if (parsed.success) return new Map(Object.entries(parsed.data));
  throw new ProblemError(invalidBody(parsed.error.issues.flatMap(issue => faultsOf(issue, resource))));
}

/** An issue with the code of the fault in `params`. */
const refuse = (context: z.core.$RefinementCtx, code: string, message: string) => {
  context.issues.push({ code: 'custom', message, params: { code }, input: context.value });
  return z.NEVER;
};

const readOnly = ({ name }: Column) =>
  z
    .unknown()
    .transform((_json, context) =>
      refuse(context, 'read-only-column', `column ${name} is read-only: leave it out`),
    );

const textOf = (column: Column) =>
  z.unknown().transform((json, context) => {
    try {
      return decodeValue(column, json);
    } catch (error) {
      // A value may be nested more deeply than the stack goes.
      if (error instanceof RangeError)
        return refuse(context, 'bad-value', `column ${column.name}: nested too deeply`);
      if (!(error instanceof FreshetError)) throw error;
      return refuse(context, error.code, error.message);
    }
  });

function faultsOf(issue: z.core.$ZodIssue, resource: Resource): BodyFault[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map(name => unknownColumn(name, resource));
  const code: unknown = issue.code === 'custom' ? issue.params?.code : undefined;
  return [
    {
      code: typeof code === 'string' ? code : 'bad-value',
      detail: issue.message,
      pointer: pointerTo(issue.path),
    },
  ];
}

function unknownColumn(name: string, resource: Resource): BodyFault {
  const meant = nearMiss(
    name,
    resource.columns.map(column => column.name),
  );
  const guess = meant === null ? '' : `; did you mean ${meant}?`;
  return {
    code: 'unknown-column',
    detail: `${resource.name} has no column ${JSON.stringify(shortened(name))}${guess}`,
    pointer: pointerTo([name]),
  };
}

const keyMismatch = (name: string, came: string | null, expected: string): BodyFault => ({
  code: 'key-mismatch',
  detail: `column ${name} says ${came}, the path says ${expected}`,
  pointer: pointerTo([name]),
});

/** More of a name than this is not worth repeating. */
const NAME_LIMIT = 80;

const shortened = (name: string): string => name.slice(0, NAME_LIMIT).toWellFormed();

/** RFC 6901 6: a JSON Pointer as URI fragment. */
const pointerTo = (path: readonly PropertyKey[]): string => {
  const parts = path.map(part => shortened(String(part)).replaceAll('~', '~0').replaceAll('/', '~1'));
  return `#${parts.map(part => `/${encodeURIComponent(part)}`).join('')}`;
};
