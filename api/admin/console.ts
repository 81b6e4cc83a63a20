import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Express, type RequestHandler, type Response } from 'express';
import { describe, FreshetError } from '../../shared/errors.ts';
import { type Observer, silentObserver } from '../../shared/observe.ts';
import { openQueues, type Queues } from '../../shared/queue/queues.ts';
import { boardOf } from './board.ts';
import { asksForLoopback, isLoopback, isSameOrigin, Operator } from './operator.ts';
import { indexPage, loginPage } from './pages.ts';

const scrapeWithinMs = 2_000;
const closeWithinMs = 1_000;
const loginLimitBytes = 4_096;
/** Nothing is loaded from elsewhere; the board styles its elements inline. */
const contentPolicy =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:; " +
  "form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

export interface ConsoleOptions {
  readonly port: number;
  readonly host?: string;
  readonly queueRedisUrl: string;
  readonly namespace: string;
  /** Null: nobody may change anything. */
  readonly operatorToken: string | null;
  /** Base URLs of the API processes' admin listeners, as they are now. */
  readonly apiMetrics: () => readonly string[];
  readonly mergeMetrics: (texts: readonly string[]) => string;
  readonly status: () => Promise<unknown>;
  readonly observer?: Observer;
}

export interface Console {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * The console's listener, one for all processes.
 * @throws FreshetError `console-exposed` (beyond loopback without a token), `port-taken`, `queue-redis-evicts`.
 */
export async function startConsole(options: ConsoleOptions): Promise<Console> {
  const {
    host = '127.0.0.1',
    port,
    operatorToken,
    queueRedisUrl,
    namespace,
    observer = silentObserver,
  } = options;
  if (!isLoopback(host) && operatorToken === null) {
    throw new FreshetError({
      code: 'console-exposed',
      message: `the console would listen on ${host}, where others reach it, without an operator token`,
      hint: 'Set FRESHET_OPERATOR_TOKEN, or let the console listen on 127.0.0.1.',
    });
  }
  const operator = new Operator(operatorToken);
  const queues = await openQueues({ url: queueRedisUrl, namespace, observer });
  try {
    const server = createServer(createConsole(options, queues, operator, !isLoopback(host)));
    await listen(server, host, port);
    const { port: bound } = server.address() as AddressInfo;
    operator.nameCookieAfter(bound);
    return {
      url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
      async close() {
        await stop(server);
        await queues.close();
      },
    };
  } catch (error) {
    await queues.close();
    throw error;
  }
}

/** What a request meets, in order. `exposed`: reachable by others, so that looking takes the token as well. */
function createConsole(
  options: ConsoleOptions,
  queues: Queues,
  operator: Operator,
  exposed: boolean,
): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.use((_request, response, next) => {
    response.set({
      'Content-Security-Policy': contentPolicy,
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'same-origin',
      'Cache-Control': 'no-store',
    });
    next();
  });
  app.get('/health/live', (_request, response) => void response.type('text').send('live\n'));
  app.use(admit(operator, exposed));
  app.get('/', (request, response) => {
    const standing = operator.identify(request) ? 'operator' : operator.exists ? 'visitor' : 'no-operator';
    response.send(indexPage(standing));
  });
  app.get('/login', (_request, response) => void response.send(loginPage(false)));
  app.post('/login', express.urlencoded({ extended: false, limit: loginLimitBytes }), (request, response) => {
    const { token } = (request.body ?? {}) as { token?: unknown };
    const cookie = typeof token === 'string' ? operator.logIn(token) : null;
    if (cookie === null) response.status(403).send(loginPage(true));
    else response.set('Set-Cookie', cookie).redirect(303, '/');
  });
  app.post('/logout', (request, response) =>
    response.set('Set-Cookie', operator.logOut(request)).redirect(303, '/'),
  );
  app.use('/queues', whenReachable(queues), board(queues, operator));
  app.get('/metrics', metrics(options));
  app.get('/status', async (_request, response) => void response.json(await options.status()));
  app.use((request, response) =>
    problem(response, 404, 'not-found', `there is no ${request.path} on the console`),
  );
  app.use(((error, _request, response, next) => {
    if (response.headersSent) return next(error);
    problem(response, 500, error instanceof FreshetError ? error.code : 'internal', describe(error));
  }) satisfies express.ErrorRequestHandler);
  return app;
}

/** Reading is free on loopback; changing takes the operator, and by cookie also a page of our own. */
function admit(operator: Operator, exposed: boolean): RequestHandler {
  return (request, response, next) => {
    if (!exposed && !asksForLoopback(request)) {
      return problem(
        response,
        403,
        'foreign-host',
        `the console answers to loopback names, not to ${request.headers.host}`,
      );
    }
    const changes = request.method !== 'GET' && request.method !== 'HEAD';
    const loggingIn = request.path === '/login';
    const identity = operator.identify(request);
    if (changes && identity !== 'bearer' && !isSameOrigin(request)) {
      return problem(
        response,
        403,
        'operator-needed',
        'changes take the operator token, or the session of a page of this console',
      );
    }
    if (identity || loggingIn) return next();
    if (changes) {
      const hint = operator.exists
        ? 'log in, or send the operator token'
        : 'set FRESHET_OPERATOR_TOKEN to allow changes';
      return problem(response, 403, 'operator-needed', `this console is read-only for you: ${hint}`);
    }
    if (!exposed) return next();
    if (request.accepts('html', 'json') === 'html') return response.redirect(303, '/login');
    response.set('WWW-Authenticate', 'Bearer realm="Freshet console"');
    problem(
      response,
      401,
      'operator-needed',
      'this console is open to others: looking takes the operator token too',
    );
  };
}

/** Bull Board would wait without end for a Redis that was never there. */
function whenReachable(queues: Queues): RequestHandler {
  return (_request, response, next) => {
    if (queues.isReady) return next();
    problem(
      response,
      503,
      'queue-redis-unavailable',
      'the queue Redis is away; jobs wait, cached reads do not depend on it',
    );
  };
}

function board(queues: Queues, operator: Operator): RequestHandler {
  const forOperator = boardOf(queues, '/queues', { readOnly: false });
  const forVisitors = boardOf(queues, '/queues', { readOnly: true });
  return (request, response, next) =>
    (operator.identify(request) ? forOperator : forVisitors)(request, response, next);
}

function metrics({ apiMetrics, mergeMetrics }: ConsoleOptions): RequestHandler {
  return async (_request, response) => {
    const urls = apiMetrics();
    const scrapes = await Promise.allSettled(urls.map(scrape));
    const texts = scrapes.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
    if (texts.length === 0 && urls.length > 0) {
      return problem(response, 503, 'no-metrics', `none of ${urls.length} API processes told its metrics`);
    }
    const missing = urls.length - texts.length;
    const note = missing > 0 ? `# ${missing} of ${urls.length} API processes did not answer\n` : '';
    response.set('Content-Type', 'text/plain; version=0.0.4; charset=utf-8').send(note + mergeMetrics(texts));
  };
}

async function scrape(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(scrapeWithinMs) });
  if (!response.ok) throw new Error(`${url}/metrics answered ${response.status}`);
  return response.text();
}

function problem(response: Response, status: number, code: string, detail: string): void {
  response.status(status).type('application/problem+json');
  response.send(JSON.stringify({ type: 'about:blank', status, code, detail }));
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port, exclusive: true }, resolve);
  try {
    await promise;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new FreshetError({
      code: code === 'EADDRINUSE' ? 'port-taken' : 'console-not-listening',
      message: `the console cannot listen on ${host}:${port} (${code})`,
      hint: 'Stop what listens there, or choose another port with FRESHET_CONSOLE_PORT.',
      cause: error,
    });
  }
}

async function stop(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), closeWithinMs);
  await promise;
  clearTimeout(timer);
}
