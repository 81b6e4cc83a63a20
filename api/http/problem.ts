import { STATUS_CODES } from 'node:http';
import { FreshetError } from '../../shared/errors.ts';

/** What is wrong with one member of a request body. */
export interface BodyFault {
  readonly code: string;
  readonly detail: string;
  /** Where, as a JSON Pointer in URI fragment form: `#/email`. */
  readonly pointer: string;
}

/** An error as callers see it: problem+json (RFC 9457). */
export interface Problem {
  readonly status: number;
  /** Stable word, kebab-case: what programs decide on. */
  readonly code: string;
  /** For people: what went wrong with this very request. */
  readonly detail: string;
  readonly expected?: string;
  readonly came?: string;
  /** The next step. */
  readonly hint?: string | undefined;
  readonly errors?: readonly BodyFault[];
  /** Fields of the answer that belong to the status: Allow, Retry-After, ETag of a 412. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A problem on its way to the answer. */
export class ProblemError extends FreshetError {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super({ code: problem.code, message: problem.detail });
    this.problem = problem;
  }
}

export const RETRY_AFTER_SECONDS = 1;
const LATER = { 'Retry-After': String(RETRY_AFTER_SECONDS) };

/** Errors that callers are told in the words they were thrown with. All others keep their words for the log. */
const STATUS_OF: ReadonlyMap<string, number> = new Map(
  Object.entries({
    'bad-json': 400,
    'bad-value': 400,
    'read-only-column': 400,
    'not-permitted': 403,
    'unique-violation': 409,
    'foreign-key-violation': 409,
    'exclusion-violation': 409,
    'check-violation': 422,
    'not-null-violation': 422,
    'too-long': 422,
    'refused-by-trigger': 422,
    'inexact-number': 500,
    'no-version': 500,
    overloaded: 503,
    'definition-changed': 503,
    'write-conflict': 503,
    'write-timeout': 503,
    'commit-unknown': 503,
  }),
);

/** What Express' body reader says, by its `type`. */
const UNREADABLE: ReadonlyMap<string, Problem> = new Map(
  Object.entries({
    'entity.too.large': {
      status: 413,
      code: 'body-too-large',
      detail: 'The body is larger than this server takes.',
      hint: 'Send fewer or smaller values.',
    },
    'encoding.unsupported': {
      status: 415,
      code: 'content-coding',
      detail: 'The body is compressed, and this server reads bodies only as they are.',
      hint: 'Send it without Content-Encoding.',
      headers: { 'Accept-Encoding': 'identity' },
    },
    'request.size.invalid': {
      status: 400,
      code: 'body-incomplete',
      detail: 'The body does not have the length that Content-Length announced.',
      hint: 'Send Content-Length in bytes, not in characters.',
    },
  }),
);

/** The problem that stands for any error. Whatever was not meant for callers is told without its words. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  if (error instanceof FreshetError) return problemOfOurs(error);
  const { type, status } = (error ?? {}) as { type?: unknown; status?: unknown };
  const unreadable = UNREADABLE.get(String(type));
  if (unreadable) return unreadable;
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return { status, code: 'bad-request', detail: 'The request could not be read.' };
  }
  return INTERNAL;
}

function problemOfOurs({ code, message, hint, retryable }: FreshetError): Problem {
  const known = STATUS_OF.get(code);
  const status = known ?? (retryable ? 503 : 500);
  const headers = status === 503 && retryable ? { headers: LATER } : {};
  if (known !== undefined) return { status, code, detail: message, hint, ...headers };
  return { ...(status === 503 ? NOT_NOW : INTERNAL), code, ...headers };
}

const NOT_NOW = {
  status: 503,
  detail: 'A server that this answer needs could not be reached just now.',
  hint: 'Try again in a moment.',
};

const INTERNAL: Problem = {
  status: 500,
  code: 'internal',
  detail: 'This server failed to answer; nothing is wrong with the request.',
  hint: "The server's log has the cause.",
};

/** The document. `type` is left out, hence about:blank: the title is then the status' own phrase (RFC 9457 4.2.1). */
export function problemDocument(problem: Problem, instance: string): string {
  const { status, code, detail, expected, came, hint, errors } = problem;
  return JSON.stringify({
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code,
    detail,
    expected,
    came,
    hint,
    instance,
    errors,
  });
}
