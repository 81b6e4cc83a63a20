import type { Request, RequestHandler, Response } from 'express';
import { isRetryable } from '../../shared/errors.ts';
import type { ReadOutcome, ReadResult } from '../../shared/observe.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { sendProblem } from '../answer.ts';
import { demandsProof } from '../http/cache-control.ts';
import { cacheStatus, errorCacheStatus } from '../http/cache-status.ts';
import { judge, type Verdict } from '../http/preconditions.ts';
import { problemOf } from '../http/problem.ts';
import { malformedCondition, noSuchRow, preconditionFailed } from '../http/problems.ts';
import type { ApiContext, RowAnswer } from '../ports.ts';
import { findRow } from '../target.ts';

const AS_USUAL = { demandProof: false };
const PROVEN = { demandProof: true };

const OUTCOME_OF: Readonly<Record<Verdict, (conditional: boolean) => ReadOutcome>> = {
  proceed: conditional => (conditional ? 'modified' : 'none'),
  'not-modified': () => 'not_modified',
  failed: () => 'precondition_failed',
  malformed: () => 'none',
};

/**
 * GET and HEAD of a row. The order is that of RFC 9110 13.2.1: look up first, conditions after, so that a row
 * that is not there is a 404 whatever the request asks for, and a 304 rests on the same proof as a 200.
 */
export const serveRow =
  (ctx: ApiContext): RequestHandler =>
  async (req, res) => {
    const startMs = performance.now();
    const { resource, key } = findRow(ctx.catalog(), req.path);
    const report = (result: ReadResult, outcome: ReadOutcome, savedBytes: number): void =>
      ctx.observer.emit({
        type: 'read.served',
        resource: resource.name,
        result,
        outcome,
        durationMs: performance.now() - startMs,
        savedBytes,
      });

    let answer: RowAnswer;
    try {
      answer = await ctx.reader.read(
        resource,
        key,
        demandsProof(req.headers['cache-control']) ? PROVEN : AS_USUAL,
      );
    } catch (error) {
      report('error', 'none', 0);
      if (!isRetryable(error)) throw error;
      const problem = problemOf(error);
      sendProblem(req, res, problem, { 'Cache-Status': errorCacheStatus(problem.code) });
      return;
    }

    if (!answer.found) {
      sendProblem(req, res, noSuchRow(resource.name), aboutAnswer(answer));
      report(answer.result, 'none', 0);
      return;
    }
    const verdict = judgeRead(req, answer.etag);
    if (verdict === 'proceed') sendRow(res, resource, answer);
    else if (verdict === 'not-modified') sendNotModified(res, resource, answer);
    else {
      const problem = verdict === 'failed' ? preconditionFailed(answer.etag) : malformedCondition;
      sendProblem(req, res, problem, aboutAnswer(answer));
    }
    const isConditional = req.headers['if-none-match'] !== undefined;
    report(
      answer.result,
      OUTCOME_OF[verdict](isConditional),
      verdict === 'not-modified' ? answer.body.length : 0,
    );
  };

/** Nearly every conditional GET sends back the one tag it got: that needs no parser. */
function judgeRead(req: Request, etag: string): Verdict {
  const { headers } = req;
  const ifNoneMatch = headers['if-none-match'];
  const ifMatch = headers['if-match'];
  const ifVersion = headers['freshet-if-version'] as string | undefined;
  if (ifMatch === undefined && ifVersion === undefined) {
    if (ifNoneMatch === undefined) return 'proceed';
    if (ifNoneMatch === etag) return 'not-modified';
  }
  return judge(req.method, { ifMatch, ifVersion, ifNoneMatch }, etag);
}

/** Header names and values in one flat list go to the socket together with the body, in one write. */
function sendRow(res: Response, resource: Resource, answer: RowAnswer): void {
  const headers = rowHeaders(resource, answer);
  headers.push(
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(answer.body.length),
  );
  res.writeHead(200, headers);
  // Node sends no body in answer to HEAD; the length stays that of the GET.
  res.end(answer.body);
}

/** What the 200 would have said, without what describes a body (RFC 9110 15.4.5); Node adds Date. */
function sendNotModified(res: Response, resource: Resource, answer: RowAnswer): void {
  res.writeHead(304, rowHeaders(resource, answer));
  res.end();
}

function rowHeaders(resource: Resource, answer: RowAnswer): string[] {
  const headers = [
    'ETag',
    answer.etag,
    'Cache-Control',
    resource.cacheControl,
    'Cache-Status',
    cacheStatus(answer),
    'Freshet-Version',
    answer.etag.slice(1, -1),
  ];
  if (answer.token !== null) headers.push('Freshet-Token', answer.token);
  return headers;
}

const aboutAnswer = (answer: RowAnswer): Record<string, string> => ({
  'Cache-Status': cacheStatus(answer),
  ...(answer.token === null ? {} : { 'Freshet-Token': answer.token }),
});
