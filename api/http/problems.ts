import { nearMiss } from '../../shared/resources/near-miss.ts';
import type { BodyFault, Problem } from './problem.ts';

/** The problems that requests run into before, or instead of, the database. One function each: a catalogue. */

const QUOTED_LIMIT = 80;

/** What came, shortened: a problem is not an echo. */
const quoted = (text: string): string =>
  JSON.stringify(text.length > QUOTED_LIMIT ? `${text.slice(0, QUOTED_LIMIT)}…` : text);

export function unknownResource(name: string, known: Iterable<string>): Problem {
  const meant = nearMiss(name, known);
  return {
    status: 404,
    code: 'unknown-resource',
    detail: `There is no resource ${quoted(name)}.`,
    hint: meant === null ? 'GET / lists the resources.' : `Did you mean /${meant}?`,
  };
}

export const unknownPath = (path: string): Problem => ({
  status: 404,
  code: 'unknown-path',
  detail: `Nothing is served at ${quoted(path)}.`,
  expected: '/<resource>/<key>',
  hint: 'Paths are case-sensitive and have no trailing slash; GET / lists the resources.',
});

export const impossibleKey = (segment: string, expected: string): Problem => ({
  status: 404,
  code: 'impossible-key',
  detail: 'No row can have this key.',
  expected: `${expected}, spelled as Postgres prints it`,
  came: quoted(segment),
  hint: 'A row has one path: 42 and not 042 or +42, a uuid in lower case.',
});

export const noSuchRow = (resource: string): Problem => ({
  status: 404,
  code: 'no-such-row',
  detail: `There is no such row in ${quoted(resource)}.`,
});

export const cannotCreateHere = (resource: string): Problem => ({
  ...noSuchRow(resource),
  hint: `Keys of ${quoted(resource)} are given by the server: create rows by POST.`,
});

export const canCreateHere = (resource: string): Problem => ({
  ...noSuchRow(resource),
  hint: 'PUT with If-None-Match: * creates it.',
});

export const methodNotAllowed = (method: string, allow: string): Problem => ({
  status: 405,
  code: 'method-not-allowed',
  detail: `${method} is not possible here.`,
  expected: allow,
  came: method,
  headers: { Allow: allow },
});

export const unsupportedMediaType = (
  came: string | undefined,
  accepted: readonly string[],
  headers: Readonly<Record<string, string>>,
): Problem => ({
  status: 415,
  code: 'unsupported-media-type',
  detail: 'The body is of a type that is not taken here.',
  expected: `Content-Type: ${accepted.join(' or ')}, in UTF-8`,
  came: came === undefined ? 'no Content-Type' : quoted(came),
  headers,
});

export const malformedCondition: Problem = {
  status: 400,
  code: 'malformed-condition',
  detail: 'If-Match or Freshet-If-Version cannot be read.',
  expected: 'If-Match: "tag", "tag" … or *, with the quotes; Freshet-If-Version: one tag without quotes',
  hint: 'Send ETag as it was received, or Freshet-Version as it was received.',
};

/** `current`: the quoted tag of what is there; null when nothing with a tag is. */
export const preconditionFailed = (current: string | null): Problem => ({
  status: 412,
  code: 'precondition-failed',
  detail: 'The condition does not hold for what is there now.',
  hint: 'GET the current state, apply the change to it, and try again with its ETag.',
  ...(current === null ? {} : { headers: { ETag: current, 'Freshet-Version': current.slice(1, -1) } }),
});

export const missingBody: Problem = {
  status: 400,
  code: 'missing-body',
  detail: 'The request has no body.',
  expected: 'a JSON object: column → value',
};

export const notUtf8: Problem = {
  status: 400,
  code: 'not-utf-8',
  detail: 'The body is not UTF-8.',
  hint: 'JSON is sent in UTF-8 (RFC 8259 8.1).',
};

export const notAnObject = (came: string): Problem => ({
  status: 400,
  code: 'not-an-object',
  detail: 'The body is JSON, but not an object.',
  expected: 'a JSON object: column → value',
  came,
});

export const invalidBody = (errors: readonly BodyFault[]): Problem => ({
  status: 400,
  code: 'invalid-body',
  detail: errors.map(fault => fault.detail).join('; '),
  errors,
});

/** A merge patch may reach into an object; a column is only ever written as a whole. */
export const nestedMerge = (columns: readonly string[]): Problem => ({
  status: 422,
  code: 'nested-merge',
  detail: `A merge patch would merge into the stored value of ${columns.join(', ')}; columns are written as a whole.`,
  hint: 'Send the whole value with Content-Type: application/json, which replaces the columns it names.',
});

export const noList = (resource: string, rows: string): Problem => ({
  status: 404,
  code: 'no-list',
  detail: `There is no list of ${quoted(resource)}.`,
  expected: rows,
  hint: `One row is at ${rows}.`,
});
