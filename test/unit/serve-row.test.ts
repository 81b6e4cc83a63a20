import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createApp } from '../../api/app.ts';
import type { ApiContext, RowAnswer } from '../../api/ports.ts';
import { FreshetError } from '../../shared/errors.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { resolveCatalog } from '../../shared/resources/resolve.ts';
import { serve, type TestApi } from '../support/http.ts';
import { type RecordingObserver, recordingObserver } from '../support/recording-observer.ts';
import { column, factsOf, shape } from '../support/shapes.ts';

/** What the reader answers is given here: these tests are about what becomes of it on the wire. */
const found: RowAnswer = {
  found: true,
  body: Buffer.from('{"id":1,"name":"Änn"}'),
  etag: '"abc"',
  result: 'hit',
  mode: 'FRESH',
  stored: true,
  ttlSeconds: null,
  token: 'v1.7.1.900',
  why: null,
};

const absent: RowAnswer = {
  ...found,
  found: false,
  body: Buffer.alloc(0),
  etag: '',
  result: 'negative',
  ttlSeconds: 60,
  token: null,
};

const users = shape('users', [column('id', 'int4'), column('name', 'text')]);
const words = shape('words', [column('lang', 'text'), column('word', 'text')], ['lang', 'word']);
const catalog = resolveCatalog(
  defineConfig({
    resources: {
      users: table('users', { write: 'cache-aside' }),
      words: table('words', { cacheControl: 'public, max-age=5' }),
    },
  }),
  [users, words],
  [factsOf(users), factsOf(words)],
);

let api: TestApi;
let observer: RecordingObserver;
let answer: RowAnswer | Error;
let reads: { resource: string; key: string[]; demandProof: boolean }[];
let ready = { ok: true, conditions: { database: 'ok' } };

const never = (): never => {
  throw new Error('no GET comes here');
};

const ctx: ApiContext = {
  catalog: () => catalog,
  refreshCatalog: async () => {},
  reader: {
    async read(resource, key, { demandProof }) {
      reads.push({ resource: resource.name, key, demandProof });
      if (answer instanceof Error) throw answer;
      return answer;
    },
  },
  store: { event: never },
  filler: { fill: never },
  writePool: {} as ApiContext['writePool'],
  system: { id: '7', timeline: 1 },
  observer: { ...recordingObserver(), emit: seen => observer.emit(seen) },
  ready: () => ready,
};

beforeAll(async () => {
  api = await serve(ctx);
});
afterAll(() => api.close());
beforeEach(() => {
  answer = found;
  reads = [];
  observer = recordingObserver();
});

const get = (path: string, headers = {}) => api.request('GET', path, { headers });

/** The fields of an answer without those that Node adds to every one. */
const fieldsOf = ({ headers }: { headers: Record<string, unknown> }): Record<string, unknown> => {
  const { date, connection, 'keep-alive': _, ...rest } = headers;
  expect(date).toEqual(expect.stringMatching(/GMT$/));
  return rest;
};

const ROW_FIELDS = {
  etag: '"abc"',
  'cache-control': 'private, no-cache',
  'cache-status': 'freshet; hit',
  'freshet-version': 'abc',
  'freshet-token': 'v1.7.1.900',
};

describe('GET of a row', () => {
  test('is the stored bytes with exactly these fields', async () => {
    const got = await get('/users/1');
    expect(got).toMatchObject({ status: 200, text: '{"id":1,"name":"Änn"}' });
    expect(fieldsOf(got)).toEqual({
      ...ROW_FIELDS,
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(found.body.length),
    });
    expect(reads).toEqual([{ resource: 'users', key: ['1'], demandProof: false }]);
    expect(observer.of('read.served')).toEqual([
      {
        type: 'read.served',
        resource: 'users',
        result: 'hit',
        outcome: 'none',
        durationMs: expect.any(Number),
        savedBytes: 0,
      },
    ]);
  });

  test.each([
    ['200', {}],
    ['304', { 'If-None-Match': '"abc"' }],
  ])('reaches the socket in one write: %s', async (status, headers) => {
    const writes: string[] = [];
    const server = http.createServer(createApp(ctx)).listen(0, '127.0.0.1');
    server.on('connection', socket => {
      // What a stream asks of the system: one call of either is one write.
      for (const name of ['_write', '_writev'] as const) {
        const write = socket[name]!.bind(socket) as (...args: unknown[]) => void;
        socket[name] = (...args: unknown[]) => {
          writes.push(name);
          write(...args);
        };
      }
    });
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const request = http.get({ port, path: '/users/1', headers, agent: false });
      const [response] = await once(request, 'response');
      expect(String(response.statusCode)).toBe(status);
      await response.toArray();
      expect(writes).toHaveLength(1);
    } finally {
      await new Promise(done => server.close(done));
    }
  });

  test('carries the cache policy of its resource, and no token where none is known', async () => {
    answer = { ...found, token: null };
    const { headers } = await get('/words/en,tea');
    expect(headers['cache-control']).toBe('public, max-age=5');
    expect(headers).not.toHaveProperty('freshet-token');
  });

  test.each([
    ['no-cache', true],
    ['max-age=0', true],
    ['max-age=60', false],
  ])('with Cache-Control: %s asks for a proof: %s', async (directive, demandProof) => {
    await get('/users/1', { 'Cache-Control': directive });
    expect(reads).toMatchObject([{ demandProof }]);
  });
});

describe('HEAD', () => {
  test.each([
    ['/users/1', {}, 200],
    ['/users/1', { 'If-None-Match': '"abc"' }, 304],
    ['/users/1', { 'If-Match': '"x"' }, 412],
    ['/users/01', {}, 404],
  ])('%s %j has the status and the fields of GET, and no body', async (path, headers, status) => {
    const got = await get(path, headers);
    const head = await api.request('HEAD', path, { headers });
    expect([got.status, head.status]).toEqual([status, status]);
    expect(fieldsOf(head)).toEqual(fieldsOf(got));
    expect(head.text).toBe('');
  });
});

describe('a conditional GET', () => {
  test.each([
    ['the tag', '"abc"'],
    ['the weak tag', 'W/"abc"'],
    ['a list with commas, tabs and holes', '"a,b",\t,W/"abc" ,'],
    ['*', '*'],
  ])('with %s is a 304 with the fields of the 200, and none that describe a body', async (_what, tag) => {
    const got = await get('/users/1', { 'If-None-Match': tag });
    expect(got).toMatchObject({ status: 304, text: '' });
    expect(fieldsOf(got)).toEqual(ROW_FIELDS);
    expect(observer.of('read.served')).toMatchObject([
      { outcome: 'not_modified', savedBytes: found.body.length },
    ]);
  });

  test.each(['"other"', 'abc', '"abc', 'w/"abc"', '"abc" "x"', "'abc'"])('with %s is a 200', async tag => {
    expect((await get('/users/1', { 'If-None-Match': tag })).status).toBe(200);
    expect(observer.of('read.served')).toMatchObject([{ outcome: 'modified', savedBytes: 0 }]);
  });

  test("that demands a proof is a 304 all the same, as Node's fetch needs it", async () => {
    expect((await get('/users/1', { 'If-None-Match': '"abc"', 'Cache-Control': 'no-cache' })).status).toBe(
      304,
    );
    const fetched = await fetch(`${api.url}/users/1`, { headers: { 'If-None-Match': '"abc"' } });
    expect(fetched.status).toBe(304);
    expect(reads.map(({ demandProof }) => demandProof)).toEqual([true, true]);
  });

  test('ignores If-Modified-Since, which no row can answer', async () => {
    const since = { 'If-Modified-Since': new Date(Date.now() + 86_400_000).toUTCString() };
    expect((await get('/users/1', since)).status).toBe(200);
    expect((await get('/users/1', { ...since, 'If-None-Match': '"other"' })).status).toBe(200);
  });

  test.each([
    [{ 'If-Match': '"other"' }, 412],
    [{ 'If-Match': 'W/"abc"' }, 412],
    [{ 'Freshet-If-Version': 'other' }, 412],
    [{ 'If-Match': '"other"', 'If-None-Match': '"abc"' }, 412],
    [{ 'If-Match': '"abc"', 'If-None-Match': '"abc"' }, 304],
    [{ 'Freshet-If-Version': 'abc' }, 200],
    [{ 'If-Match': '*' }, 200],
    [{ 'If-Match': 'abc' }, 400],
  ])('%j is a %d', async (headers, status) => {
    const got = await get('/users/1', headers);
    expect(got.status).toBe(status);
    if (status === 412)
      expect(got.headers).toMatchObject({
        etag: '"abc"',
        'freshet-version': 'abc',
        'cache-status': 'freshet; hit',
      });
  });
});

describe('a row that is not there', () => {
  test('is a 404 that says whether the cache knew, and is kept by nobody', async () => {
    answer = absent;
    const got = await get('/users/9');
    expect(got).toMatchObject({
      status: 404,
      json: { status: 404, code: 'no-such-row', instance: '/users/9' },
    });
    expect(got.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'cache-status': 'freshet; hit; ttl=60; detail=negative',
    });
    expect(observer.of('read.served')).toMatchObject([{ result: 'negative', outcome: 'none' }]);
  });

  test.each([
    { 'If-None-Match': '*' },
    { 'If-None-Match': '"abc"' },
    { 'If-Match': '"abc"' },
    { 'If-Match': 'broken' },
  ])('is a 404 with %j too', async headers => {
    answer = absent;
    expect((await get('/users/9', headers)).status).toBe(404);
  });

  test.each([
    '/users/01',
    '/users/+1',
    '/users/1.0',
    '/users/1%20',
    '/users/9999999999',
    '/users/x',
    '/users/1,2',
    '/users/%ZZ',
    '/words/en',
  ])('%s is no possible key: a 404 without asking anybody', async path => {
    expect(await get(path)).toMatchObject({ status: 404, json: { code: 'impossible-key' } });
    expect(reads).toEqual([]);
  });

  test('keys are read from the path as it came: an encoded comma is no separator', async () => {
    await get('/words/a%2Cb,c%2Fd?x=1');
    expect(reads).toMatchObject([{ resource: 'words', key: ['a,b', 'c/d'] }]);
    expect((await get('/words/a%2Cb')).status).toBe(404);
  });
});

describe('paths are strict', () => {
  test.each([
    ['/Users/1', 'unknown-resource'],
    ['/user/1', 'unknown-resource'],
    ['/us%65rs/1', 'unknown-resource'],
    ['/constructor/1', 'unknown-resource'],
    ['/users/1/', 'unknown-path'],
    ['/users/1/x', 'unknown-path'],
    ['/users//1', 'unknown-path'],
    ['//users/1', 'unknown-path'],
    ['/users/', 'unknown-path'],
    ['/users/1.css', 'impossible-key'],
    ['/users/1;x', 'impossible-key'],
    ['/Health/live', 'unknown-resource'],
  ])('%s is a 404: %s', async (path, code) => {
    expect(await get(path)).toMatchObject({ status: 404, json: { code } });
    expect(reads).toEqual([]);
  });

  test('a name that was nearly right gets a hint', async () => {
    expect((await get('/user/1')).json.hint).toContain('/users');
  });
});

describe('methods', () => {
  test.each([
    ['POST', '/users/1', 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'],
    ['TRACE', '/users/1', 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'],
    ['PUT', '/words/en,tea', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/words/en,tea', 'GET, HEAD, OPTIONS'],
    ['GET', '/users', 'POST, OPTIONS'],
    ['DELETE', '/users', 'POST, OPTIONS'],
  ])('%s %s is a 405 that allows %s', async (method, path, allow) => {
    expect(await api.request(method, path)).toMatchObject({
      status: 405,
      headers: { allow },
      json: { code: 'method-not-allowed' },
    });
  });

  test.each(['GET', 'POST', 'OPTIONS'])('%s of the list of a read-only resource is a 404', async method => {
    expect(await api.request(method, '/words')).toMatchObject({
      status: 404,
      json: { code: 'no-list', expected: '/words/{lang},{word}' },
    });
  });

  test('OPTIONS tells what is possible, without looking for the row', async () => {
    expect(await api.request('OPTIONS', '/users/1')).toMatchObject({
      status: 204,
      headers: {
        allow: 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS',
        'accept-patch': 'application/json, application/merge-patch+json',
      },
    });
    expect((await api.request('OPTIONS', '/words/en,tea')).headers).toMatchObject({
      allow: 'GET, HEAD, OPTIONS',
    });
    expect((await api.request('OPTIONS', '/users')).headers).toMatchObject({ allow: 'POST, OPTIONS' });
    expect(reads).toEqual([]);
  });
});

describe('a read that nobody can answer', () => {
  test('is a 503 that says when to come back', async () => {
    answer = new FreshetError({ code: 'overloaded', message: 'too many readings', retryable: true });
    const got = await get('/users/1');
    expect(got).toMatchObject({ status: 503, json: { code: 'overloaded' } });
    expect(got.headers).toMatchObject({
      'retry-after': '1',
      'cache-status': 'freshet; fwd=miss; detail=overloaded',
    });
    expect(observer.of('read.served')).toMatchObject([{ result: 'error' }]);
    expect(observer.of('note')).toEqual([]);
  });

  test('is a 500 without words of ours where we failed, and the cause is told to the observer', async () => {
    answer = new TypeError('secret');
    const got = await get('/users/1');
    expect(got).toMatchObject({ status: 500, json: { code: 'internal' } });
    expect(got.text).not.toContain('secret');
    expect(observer.of('note')).toMatchObject([{ level: 'error', error: answer }]);
  });
});

describe('what the API says of itself', () => {
  test('GET / lists the resources', async () => {
    expect((await get('/')).json).toEqual({
      resources: [
        {
          name: 'users',
          rows: '/users/{id}',
          methods: ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
          create: 'POST /users',
        },
        { name: 'words', rows: '/words/{lang},{word}', methods: ['GET', 'HEAD', 'OPTIONS'] },
      ],
    });
  });

  test('health: live as long as it answers, ready with its conditions', async () => {
    expect(await get('/health/live')).toMatchObject({ status: 200, json: { status: 'live' } });
    expect(await get('/health/ready')).toMatchObject({
      status: 200,
      json: { status: 'ready', conditions: { database: 'ok' } },
    });
    ready = { ok: false, conditions: { database: 'away' } };
    expect(await get('/health/ready')).toMatchObject({
      status: 503,
      json: { status: 'not-ready', conditions: { database: 'away' } },
    });
  });

  test('no answer names the framework', async () => {
    for (const path of ['/', '/users/1', '/users/x', '/nothing/here/at/all']) {
      expect((await get(path)).headers).not.toHaveProperty('x-powered-by');
    }
  });
});
