import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { ConnectClient } from '../../connectors/connect-client.ts';
import type { FreshetError } from '../../shared/errors.ts';
import { freePort } from '../../shared/local/ports.ts';
import { eventually } from '../support/eventually.ts';

interface Request {
  readonly line: string;
  readonly body: unknown;
  readonly authorization: string | undefined;
}

/** Answers in their order; the last one again and again. */
let answers: { readonly status: number; readonly body: unknown }[] = [];
let requests: Request[] = [];

const read = async (request: IncomingMessage): Promise<string> => {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
};
const server = createServer((request, response) => {
  void read(request).then(text => {
    const { authorization } = request.headers;
    requests.push({
      line: `${request.method} ${request.url}`,
      body: text === '' ? null : JSON.parse(text),
      authorization,
    });
    const { status, body } = (answers.length > 1 ? answers.shift() : answers[0])!;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
});
let url = '';

beforeAll(async () => {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());
afterEach(() => {
  answers = [];
  requests = [];
});

const client = (options: { secrets?: readonly string[]; signal?: AbortSignal } = {}) =>
  new ConnectClient({ url, ...options });
const answering = (status: number, body: unknown): void => void answers.push({ status, body });
const lines = (): string[] => requests.map(({ line }) => line);
const failure = (work: Promise<unknown>): Promise<FreshetError> =>
  work.then(
    () => Promise.reject(new Error('it was expected to fail')),
    error => error as FreshetError,
  );

describe('questions to Connect', () => {
  test('the state of a connector is its own and that of its task', async () => {
    answering(200, {
      name: 'freshet',
      connector: { state: 'RUNNING', worker_id: 'a:1' },
      tasks: [{ id: 0, state: 'FAILED', worker_id: 'a:1', trace: 'java.lang.X: no\n\tat a.b' }],
      type: 'source',
    });
    expect(await client().state('freshet')).toEqual({
      connector: 'RUNNING',
      task: 'FAILED',
      trace: 'java.lang.X: no\n\tat a.b',
    });
    expect(lines()).toEqual(['GET /connectors/freshet/status']);
  });

  test('one that is stopped has no task', async () => {
    answering(200, { name: 'freshet', connector: { state: 'STOPPED' }, tasks: [], type: 'source' });
    expect(await client().state('freshet')).toEqual({ connector: 'STOPPED', task: null, trace: null });
  });

  test('what is not there is null', async () => {
    answering(404, { error_code: 404, message: 'No status found for connector x' });
    expect(await client().state('x')).toBeNull();
    expect(await client().config('x')).toBeNull();
    expect(await client().offsets('x')).toBeNull();
    expect(await client().remove('x')).toBe(false);
  });

  test('an answer that is not of Connect is told as such', async () => {
    answering(200, '<html>a proxy</html>');
    expect(await failure(client().state('x'))).toMatchObject({
      code: 'connect-refused',
      message: expect.stringContaining('is not Kafka Connect'),
    });
  });

  test('names cannot lead elsewhere', async () => {
    answering(404, {});
    await client().state('a/../b?c');
    expect(lines()).toEqual(['GET /connectors/a%2F..%2Fb%3Fc/status']);
  });
});

describe('orders to Connect', () => {
  test('each goes where Connect expects it', async () => {
    answering(200, {});
    const connect = client();
    await connect.createStopped('f', { a: '1' });
    await connect.putConfig('f', { a: '2' });
    await connect.stop('f');
    await connect.deleteOffsets('f');
    await connect.resume('f');
    await connect.restartFailed('f');
    await connect.restart('f');
    await connect.remove('f');
    expect(lines()).toEqual([
      'POST /connectors',
      'PUT /connectors/f/config',
      'PUT /connectors/f/stop',
      'DELETE /connectors/f/offsets',
      'PUT /connectors/f/resume',
      'POST /connectors/f/restart?includeTasks=true&onlyFailed=true',
      'POST /connectors/f/restart?includeTasks=true',
      'DELETE /connectors/f',
    ]);
    expect(requests[0]!.body).toEqual({ name: 'f', config: { a: '1' }, initial_state: 'STOPPED' });
    expect(requests[1]!.body).toEqual({ a: '2' });
  });

  test('one that comes during a rebalance is repeated until it is taken', async () => {
    const rebalance = 'Cannot complete request momentarily due to stale configuration';
    answering(409, { error_code: 409, message: rebalance });
    answering(409, {
      error_code: 409,
      message: 'Request cannot be completed because a rebalance is expected',
    });
    answering(204, '');
    await client().stop('f');
    expect(lines()).toEqual(Array(3).fill('PUT /connectors/f/stop'));
  });

  test('a conflict that will not pass is told at once', async () => {
    answering(409, { error_code: 409, message: 'Connector f already exists' });
    expect(await failure(client().createStopped('f', {}))).toMatchObject({
      code: 'connect-refused',
      message: expect.stringContaining('Connector f already exists'),
    });
    expect(requests).toHaveLength(1);
  });

  test('a refusal says what Connect says, in one line', async () => {
    const message =
      'Connector configuration is invalid and contains the following 1 error(s):\nError while validating connector config: FATAL: password authentication failed for user "a"\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`';
    answering(400, { error_code: 400, message });
    const error = await failure(client().putConfig('f', {}));
    expect(error.message).toBe(
      'Kafka Connect refused (PUT, status 400): Connector configuration is invalid and contains the following 1 error(s): Error while validating connector config: FATAL: password authentication failed for user "a"',
    );
    expect(error.hint).toContain('did not get the right password');
    expect(error.retryable).toBe(false);
  });

  test('nobody there is a trouble that may pass', async () => {
    const nobody = new ConnectClient({ url: `http://user:geheim@127.0.0.1:${await freePort()}` });
    const error = await failure(nobody.state('f'));
    expect(error).toMatchObject({ code: 'connect-unreachable', retryable: true });
    expect(error.message).toContain('ECONNREFUSED');
    expect(error.message).not.toContain('geheim');
  });

  test('whoever gives up does so at once, also between two tries', async () => {
    answering(409, { error_code: 409, message: 'a rebalance is expected' });
    const end = new AbortController();
    const stopping = client({ signal: end.signal }).stop('f');
    stopping.catch(() => {});
    await eventually(
      'a first answer',
      () => requests.length,
      asked => asked > 0,
    );
    end.abort();
    await expect(stopping).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('secrets', () => {
  test('user and password of the URL are sent as authentication, and shown nowhere', async () => {
    answering(401, { error_code: 401, message: 'User cannot access the resource. (basic geheim)' });
    const { port } = new URL(url);
    const connect = new ConnectClient({ url: `http://us%40er:geheim@127.0.0.1:${port}/` });
    const error = await failure(connect.state('f'));
    expect(requests.at(-1)!.authorization).toBe(`Basic ${Buffer.from('us@er:geheim').toString('base64')}`);
    expect(error.message).not.toContain('geheim');
    expect(error.hint).toContain('FRESHET_CONNECT_URL');
  });

  test.each([
    'Invalid value geheim for configuration database.port',
    'jdbc:postgresql://h/d?user=a&password=another',
    '{"database.password": "another", "a": 1}',
    'database.password=another',
    'Password: another',
  ])('what Connect echoes is veiled: %s', async message => {
    answering(400, { error_code: 400, message });
    const error = await failure(client({ secrets: ['geheim'] }).putConfig('f', {}));
    expect(error.message).toContain('••••');
    expect(error.message).not.toMatch(/geheim|another/);
  });

  test('a trace is veiled too, and a reference may be seen', async () => {
    const trace = `x: geheim\nCaused by: y: database.password = \${file:/a:password}`;
    answering(200, { connector: { state: 'RUNNING' }, tasks: [{ state: 'FAILED', trace }] });
    const state = await client({ secrets: ['geheim'] }).state('f');
    expect(state!.trace).toBe(`x: ••••\nCaused by: y: database.password = \${file:/a:password}`);
  });
});
