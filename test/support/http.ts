import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { createApp } from '../../api/app.ts';
import type { ApiContext } from '../../api/ports.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
  /** The body read as JSON; undefined when it is empty. */
  // biome-ignore lint/suspicious/noExplicitAny: what is expected of an answer stands in the test that asks
  readonly json: any;
}

export interface RequestParts {
  readonly headers?: http.OutgoingHttpHeaders;
  /** A text or bytes go as they are, anything else as JSON. */
  readonly body?: unknown;
}

export interface TestApi {
  readonly url: string;
  /** By node:http, because `fetch` adds conditions and directives of its own. */
  request(method: string, path: string, parts?: RequestParts): Promise<HttpAnswer>;
  close(): Promise<void>;
}

/** The API on a free port. */
export async function serve(ctx: ApiContext): Promise<TestApi> {
  const server = http.createServer(createApp(ctx)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true });
  return {
    url: `http://127.0.0.1:${port}`,
    request: (method, path, parts = {}) => send({ agent, port, method, path }, parts),
    async close() {
      agent.destroy();
      server.closeAllConnections();
      await new Promise(done => server.close(done));
    },
  };
}

async function send(options: http.RequestOptions, { headers = {}, body }: RequestParts): Promise<HttpAnswer> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const bytes = body === undefined ? null : isRaw ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
  const request = http.request({
    host: '127.0.0.1',
    ...options,
    headers: {
      ...(bytes ? { 'Content-Type': 'application/json', 'Content-Length': bytes.length } : {}),
      ...headers,
    },
  });
  request.end(bytes ?? undefined);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const text = Buffer.concat(await response.toArray()).toString();
  return {
    status: response.statusCode!,
    headers: response.headers,
    text,
    json: text === '' ? undefined : JSON.parse(text),
  };
}
