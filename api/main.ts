import type { Server } from 'node:http';
import { createServer } from 'node:http';
import { readProcessSettings } from '../shared/config.ts';
import { runProcess } from '../shared/run-process.ts';
import { createApp } from './app.ts';
import { openApi } from './context.ts';

const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_HEADER_BYTES = 32 * 1024;
/** Connections at once: beyond it new ones are refused rather than all made slow. */
const MAX_CONNECTIONS = 10_000;
const FINISH_WITHIN_MS = 5_000;

await runProcess('api', async (id, lifecycle) => {
  const settings = readProcessSettings(process.env);
  const { context, metrics } = await openApi(settings, id, process.env, lifecycle);
  const server = createServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    createApp(context),
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, settings.apiPort, settings.apiHost);
  lifecycle.onClose('API', () => finish(server));
  context.observer.emit({
    type: 'process.started',
    role: 'api',
    detail: `port ${settings.apiPort}, pid ${process.pid}`,
  });
  return { metrics, observer: context.observer };
});

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** No new requests; those under way are answered, then their connections are closed. */
function finish(server: Server): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(() => server.closeAllConnections(), FINISH_WITHIN_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
