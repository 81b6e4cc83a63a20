import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { Observer } from '../shared/observe.ts';
import { type Problem, ProblemError, problemDocument, problemOf } from './http/problem.ts';
import { unknownPath } from './http/problems.ts';

/** A problem never stays in anybody's cache: 404 and 405 would, by heuristics (RFC 9111 4.2.2). */
export function sendProblem(
  req: Request,
  res: Response,
  problem: Problem,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = Buffer.from(problemDocument(problem, req.originalUrl));
  res.writeHead(problem.status, {
    'Content-Type': 'application/problem+json',
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    ...problem.headers,
    ...headers,
  });
  res.end(body);
}

export function sendJson(res: Response, status: number, value: unknown, cacheControl = 'no-store'): void {
  const body = Buffer.from(JSON.stringify(value));
  res.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': body.length,
    'Cache-Control': cacheControl,
  });
  res.end(body);
}

export const refuseUnknownPath: RequestHandler = req => {
  throw new ProblemError(unknownPath(req.path));
};

/** The last middleware: every error becomes a problem, and those that are our fault are told to the observer. */
export const answerErrors =
  (observer: Observer): ErrorRequestHandler =>
  (error, req, res, _next) => {
    const problem = problemOf(error);
    if (problem.status === 500) {
      observer.emit({ type: 'note', level: 'error', text: `${req.method} ${req.path} failed`, error });
    }
    // Half an answer cannot be taken back; a broken connection says so, a complete-looking one would not.
    if (res.headersSent) res.destroy();
    else sendProblem(req, res, problem);
  };
