import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Readiness {
  readonly ok: boolean;
  /** What was looked at, and how it stands: `true`, `false`, or a word that says more. */
  readonly conditions: Readonly<Record<string, boolean | string>>;
}

export interface AdminListenerOptions {
  metricsText(): Promise<string>;
  ready(): Readiness;
  /** Loopback unless given: metrics and health say more than the public should know. */
  readonly host?: string;
  /** A free one unless given. */
  readonly port?: number;
}

export interface AdminListener {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  /** Idle connections are cut at once (`server.close` does that itself), answers under way get CLOSE_GRACE_MS. */
  close(): Promise<void>;
}

const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 5_000;
const CLOSE_GRACE_MS = 1_000;
const MAX_HEADER_BYTES = 8 * 1024;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/**
 * `/metrics`, `/health/live` and `/health/ready` of one process, apart from what it serves to the public.
 * Rejects when the address is taken.
 */
export async function startAdminListener(options: AdminListenerOptions): Promise<AdminListener> {
  const server = createServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => void respond(options, request, response),
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host ?? '127.0.0.1', port: options.port ?? 0, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { address, family, port } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    close: () =>
      new Promise(resolve => {
        const cut = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
      }),
  };
}

async function respond(
  options: AdminListenerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { status, type, body } = await answer(options, request);
  if (status === 405) response.setHeader('Allow', 'GET, HEAD');
  // Health is asked again and again: an answer from a cache would be somebody else's.
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function answer(options: AdminListenerOptions, request: IncomingMessage): Promise<Answer> {
  const path = (request.url ?? '/').split('?', 1)[0]!;
  const page = PAGES.get(path);
  if (!page) return plain(404, `no such page; there are ${[...PAGES.keys()].join(', ')}`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'only GET and HEAD');
  try {
    return await page(options);
  } catch (error) {
    return plain(500, error instanceof Error ? error.message : String(error));
  }
}

const PAGES = new Map<string, (options: AdminListenerOptions) => Answer | Promise<Answer>>([
  [
    '/metrics',
    async options => ({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      body: await options.metricsText(),
    }),
  ],
  ['/health/live', () => json(200, { status: 'live' })],
  [
    '/health/ready',
    options => {
      const { ok, conditions } = options.ready();
      return json(ok ? 200 : 503, { status: ok ? 'ready' : 'unready', conditions });
    },
  ],
]);

const plain = (status: number, text: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${text}\n`,
});
const json = (status: number, value: object): Answer => ({
  status,
  type: 'application/json; charset=utf-8',
  body: `${JSON.stringify(value)}\n`,
});
