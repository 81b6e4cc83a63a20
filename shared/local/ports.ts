import { createServer } from 'node:net';

const loopback = '127.0.0.1';

function tryListening(port: number, host: string): Promise<number | NodeJS.ErrnoException> {
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', resolve);
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : port));
    });
  });
}

/** A port nobody listens on at this moment. Somebody may take it before it is used: callers try again. */
export async function freePort(): Promise<number> {
  const port = await tryListening(0, loopback);
  if (typeof port !== 'number') throw port;
  return port;
}

/** `preferred` where it is still free, so that addresses stay the same from one start to the next. */
export async function portOr(preferred: number | undefined): Promise<number> {
  return preferred !== undefined && (await isPortFree(preferred)) ? preferred : freePort();
}

export const isPortFree = async (port: number, host = loopback): Promise<boolean> =>
  typeof (await tryListening(port, host)) === 'number';
