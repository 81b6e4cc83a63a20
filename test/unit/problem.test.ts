import { describe, expect, test } from '@jest/globals';
import { type Problem, ProblemError, problemDocument, problemOf } from '../../api/http/problem.ts';
import * as problems from '../../api/http/problems.ts';
import { FreshetError } from '../../shared/errors.ts';

describe('an error becomes a problem', () => {
  test.each([
    ['bad-value', 400],
    ['bad-json', 400],
    ['not-permitted', 403],
    ['unique-violation', 409],
    ['foreign-key-violation', 409],
    ['check-violation', 422],
    ['not-null-violation', 422],
    ['too-long', 422],
    ['commit-unknown', 503],
  ])('%s is %d, in the words it was thrown with', (code, status) => {
    const problem = problemOf(
      new FreshetError({ code, message: 'expected this, got that', hint: 'do that' }),
    );
    expect(problem).toEqual({ status, code, detail: 'expected this, got that', hint: 'do that' });
  });

  test('what may pass by itself is a 503 that says when to come back', () => {
    const error = new FreshetError({ code: 'overloaded', message: 'too many', retryable: true });
    expect(problemOf(error)).toMatchObject({
      status: 503,
      detail: 'too many',
      headers: { 'Retry-After': '1' },
    });
  });

  test('a commit nobody knows the end of invites no blind retry', () => {
    const error = new FreshetError({ code: 'commit-unknown', message: 'lost in COMMIT' });
    expect(problemOf(error).headers).toBeUndefined();
  });

  test('words that were not meant for callers stay here', () => {
    const secret = 'connect ECONNREFUSED 10.0.0.7:5432';
    const errors = [
      new FreshetError({ code: 'database-unavailable', message: secret, hint: secret, retryable: true }),
      new FreshetError({ code: 'database-error', message: secret, hint: secret }),
      new Error(secret),
      Object.assign(new Error(secret), { status: 404 }),
      secret,
      null,
      undefined,
      { type: 'constructor' },
    ];
    const shown = errors.map(problemOf);
    expect(shown.map(({ status, code }) => [status, code])).toEqual([
      [503, 'database-unavailable'],
      [500, 'database-error'],
      [500, 'internal'],
      [404, 'bad-request'],
      [500, 'internal'],
      [500, 'internal'],
      [500, 'internal'],
      [500, 'internal'],
    ]);
    expect(JSON.stringify(shown)).not.toContain('10.0.0.7');
    expect(shown[0]!.headers).toEqual({ 'Retry-After': '1' });
  });

  test('a code that is a member of every object is no known code', () => {
    expect(problemOf(new FreshetError({ code: 'constructor', message: 'x' })).status).toBe(500);
  });

  test('a problem passes as it is', () => {
    expect(problemOf(new ProblemError(problems.missingBody))).toBe(problems.missingBody);
  });
});

describe('a problem document', () => {
  test('has the title of its status, the stable code, the place, and no empty members', () => {
    const document = JSON.parse(problemDocument(problems.noSuchRow('users'), '/users/9'));
    expect(document).toEqual({
      title: 'Not Found',
      status: 404,
      code: 'no-such-row',
      detail: 'There is no such row in "users".',
      instance: '/users/9',
    });
  });

  test('says what was expected, what came and what to do', () => {
    const document = JSON.parse(problemDocument(problems.impossibleKey('042', 'id (integer)'), '/users/042'));
    expect(document).toMatchObject({
      expected: expect.stringContaining('id (integer)'),
      came: '"042"',
      hint: expect.any(String),
    });
  });

  test('is no echo of endless input', () => {
    const long = 'x'.repeat(10_000);
    const all: Problem[] = [
      problems.unknownResource(long, ['users']),
      problems.unknownPath(`/${long}`),
      problems.impossibleKey(long, 'id (integer)'),
      problems.unsupportedMediaType(long, ['application/json'], {}),
    ];
    for (const problem of all) expect(problemDocument(problem, '/').length).toBeLessThan(600);
  });
});

test('a resource that was probably meant is named', () => {
  expect(problems.unknownResource('user', ['users', 'teams']).hint).toBe('Did you mean /users?');
  expect(problems.unknownResource('Users', ['users', 'teams']).hint).toBe('Did you mean /users?');
  expect(problems.unknownResource('invoices', ['users', 'teams']).hint).not.toContain('mean');
});

test('a body that could not be read is told by what was wrong with it', () => {
  expect(problemOf({ type: 'entity.too.large', status: 413 })).toMatchObject({
    status: 413,
    code: 'body-too-large',
  });
  expect(problemOf({ type: 'encoding.unsupported', status: 415 })).toMatchObject({ status: 415 });
  expect(problemOf({ type: 'request.size.invalid', status: 400 })).toMatchObject({ status: 400 });
  expect(problemOf({ type: 'request.aborted', status: 400 })).toMatchObject({
    status: 400,
    code: 'bad-request',
  });
});
