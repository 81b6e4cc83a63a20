import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

let server: Server;
let base = '';

beforeAll(async () => {
  server = createServer((request, response) => {
    response.statusCode = request.url === '/well' ? 200 : 503;
    response.end(`you asked for ${request.url}`);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise(resolve => server.close(resolve)));

const ask = (url: string): Promise<{ code: number; output: string }> =>
  new Promise(resolve => {
    execFile(process.execPath, ['docker/ask.mjs', url], (error, output) =>
      resolve({ code: error ? Number(error.code) : 0, output }),
    );
  });

describe('the health check of containers', () => {
  test('is good when the process answers that it is', async () => {
    expect(await ask(`${base}/well`)).toEqual({ code: 0, output: 'you asked for /well' });
  });

  test('is bad when the process says so, and tells what it said', async () => {
    expect(await ask(`${base}/ill`)).toEqual({ code: 1, output: 'you asked for /ill' });
  });

  test('is bad when nobody answers', async () => {
    expect(await ask('http://127.0.0.1:1/')).toMatchObject({ code: 1 });
  });
});
