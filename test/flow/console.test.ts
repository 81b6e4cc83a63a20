import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Console, type ConsoleOptions, startConsole } from '../../api/admin/console.ts';
import { mergeMetrics } from '../../observability/merge-metrics.ts';
import { orderJob } from '../../shared/queue/jobs.ts';
import { openQueues, type Queues } from '../../shared/queue/queues.ts';
import { concurrency } from '../../workers/jobs/index.ts';
import { eventually } from '../support/eventually.ts';
import { namespace } from '../support/namespace.ts';
import { recordingObserver } from '../support/recording-observer.ts';
import { startRedis } from '../support/servers.ts';

const url = process.env.TEST_QUEUE_REDIS_URL!;
const token = 'correct horse battery staple'.replaceAll(' ', '-');
const bearer = { Authorization: `Bearer ${token}` };
const space = namespace();
const jobId = orderJob('rewarm', { resource: 'users', tag: 'users:42', xid: '771' }).opts.jobId;
const retry = `/queues/api/queues/rewarm/${encodeURIComponent(jobId)}/retry`;
const closers: (() => Promise<unknown>)[] = [];
let queues: Queues;

/** A dead job to look at: every attempt was used up. */
beforeAll(async () => {
  const observer = recordingObserver();
  queues = await openQueues({ url, namespace: space, observer });
  const fail = async (): Promise<string> => {
    throw new Error('the database is on holiday');
  };
  queues.work({ rewarm: fail, cleanup: fail, sweep: fail, 'warm-up': fail }, concurrency);
  const order = orderJob('rewarm', { resource: 'users', tag: 'users:42', xid: '771' });
  await queues.add([{ ...order, opts: { ...order.opts, attempts: 2 } }]);
  await eventually(
    'dead',
    () => observer.of('job.failed'),
    seen => seen.some(one => one.dead),
  );
});

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

afterAll(() => queues.close());

async function open(options: Partial<ConsoleOptions> = {}): Promise<Console> {
  const console = await startConsole({
    port: 0,
    queueRedisUrl: url,
    namespace: space,
    operatorToken: token,
    apiMetrics: () => [],
    mergeMetrics,
    status: async () => ({ mode: 'FRESH' }),
    ...options,
  });
  closers.push(() => console.close());
  return console;
}

const rewarms = async (console: Console, headers: Record<string, string> = {}) => {
  const response = await fetch(`${console.url}/queues/api/queues?activeQueue=rewarm&status=failed`, {
    headers,
  });
  expect(response.status).toBe(200);
  const { queues: shown } = (await response.json()) as { queues: Record<string, unknown>[] };
  return shown.find(queue => queue.name === 'rewarm') as {
    readOnlyMode: boolean;
    counts: Record<string, number>;
    jobs: { id: string; data: unknown; failedReason: string; attempts: number }[];
  };
};

describe('the queues on the console', () => {
  test('show a dead job with what it pointed to and why it died', async () => {
    const queue = await rewarms(await open());
    expect(queue.counts.failed).toBe(1);
    expect(queue.jobs[0]).toMatchObject({
      id: jobId,
      data: { resource: 'users', tag: 'users:42', xid: '771' },
      failedReason: 'the database is on holiday',
    });
  });

  test.each([
    ['with the wrong token', { Authorization: 'Bearer wrong' }],
    ['with the token as a cookie', { Cookie: `freshet_console=${token}` }],
    ['without any', {}],
  ])('take no orders %s', async (_what, headers) => {
    const console = await open();
    for (const path of [retry, '/queues/api/queues/rewarm/obliterate', '/queues/api/queues/pause']) {
      const response = await fetch(console.url + path, { method: 'PUT', headers });
      expect(response.status).toBe(403);
      expect(await response.json()).toMatchObject({ status: 403, code: 'operator-needed' });
    }
    expect(
      (await fetch(`${console.url}/queues/api/queues/rewarm/add`, { method: 'POST', headers })).status,
    ).toBe(403);
    expect(await rewarms(console)).toMatchObject({ readOnlyMode: true, counts: { failed: 1 } });
  });

  test('take no orders at all where no operator token is set', async () => {
    const console = await open({ operatorToken: null });
    for (const authorization of ['Bearer null', 'Bearer ', 'Bearer undefined']) {
      const response = await fetch(console.url + retry, {
        method: 'PUT',
        headers: { Authorization: authorization },
      });
      expect(response.status).toBe(403);
    }
    const body = new URLSearchParams({ token: 'null' });
    const login = await fetch(`${console.url}/login`, {
      method: 'POST',
      body,
      headers: { Origin: console.url },
    });
    expect(login.status).toBe(403);
  });

  test('take the orders of the operator', async () => {
    const console = await open();
    expect((await rewarms(console, bearer)).readOnlyMode).toBe(false);
    const job = async () => (await queues.all.find(queue => queue.name === 'rewarm')!.getJob(jobId))!;
    const before = (await job()).finishedOn!;
    const response = await fetch(console.url + retry, { method: 'PUT', headers: bearer });
    expect(response.ok).toBe(true);
    await eventually('tried again', job, ({ finishedOn }) => (finishedOn ?? 0) > before);
  });

  test('do not wait for a queue Redis that is away', async () => {
    const server = await startRedis('queue');
    closers.push(() => server.stop());
    const console = await open({ queueRedisUrl: server.url });
    await server.kill();
    const response = await eventually(
      'noticed',
      () => fetch(`${console.url}/queues/api/queues`),
      seen => seen.status === 503,
    );
    expect(await response.json()).toMatchObject({ code: 'queue-redis-unavailable' });
    expect((await fetch(`${console.url}/status`)).status).toBe(200);
  });
});

describe('the operator in a browser', () => {
  const logIn = (
    console: Console,
    given: string,
    headers: Record<string, string> = { Origin: console.url },
  ) =>
    fetch(`${console.url}/login`, {
      method: 'POST',
      body: new URLSearchParams({ token: given }),
      headers,
      redirect: 'manual',
    });

  test('logs in by a form, gets a cookie that scripts and other sites do not, and logs out', async () => {
    const console = await open();
    expect((await logIn(console, 'wrong')).status).toBe(403);
    const response = await logIn(console, token);
    expect(response.status).toBe(303);
    const setCookie = response.headers.get('set-cookie')!;
    expect(setCookie).toMatch(/; HttpOnly; SameSite=Strict$/);
    expect(setCookie).not.toContain(token);
    const session = { Cookie: setCookie.split(';')[0]!, Origin: console.url };
    expect((await rewarms(console, session)).readOnlyMode).toBe(false);
    const act = () =>
      fetch(`${console.url}/queues/api/queues/warm-up/pause`, { method: 'PUT', headers: session });
    expect((await act()).status).toBe(200);
    expect(
      (await fetch(`${console.url}/queues/api/queues/warm-up/resume`, { method: 'PUT', headers: session }))
        .status,
    ).toBe(200);
    await fetch(`${console.url}/logout`, { method: 'POST', headers: session, redirect: 'manual' });
    expect((await act()).status).toBe(403);
  });

  test.each([
    ['another site', { Origin: 'https://evil.example' }],
    ['another port of this host', { Origin: 'http://127.0.0.1:9' }],
    ['nobody knows where', {}],
    ['a sandboxed page', { Origin: 'null' }],
  ])('cannot be made to act by a page of %s', async (_where, origin) => {
    const console = await open();
    const cookie = (await logIn(console, token)).headers.get('set-cookie')!.split(';')[0]!;
    const headers = { Cookie: cookie, ...origin };
    expect((await fetch(console.url + retry, { method: 'PUT', headers })).status).toBe(403);
    expect((await logIn(console, token, { ...origin })).status).toBe(403);
  });
});

describe('the console', () => {
  /** `fetch` would correct the Host. */
  const get = (console: Console, path: string, headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      request(`${console.url}${path}`, { headers }, response => resolve(response.resume().statusCode!))
        .on('error', reject)
        .end();
    });

  test('has an index, a status and a sign of life', async () => {
    const console = await open();
    const index = await (await fetch(`${console.url}/`)).text();
    for (const link of ['/queues/', '/status', '/metrics', '/login'])
      expect(index).toContain(`href="${link}"`);
    expect(await (await fetch(`${console.url}/status`)).json()).toEqual({ mode: 'FRESH' });
    expect((await fetch(`${console.url}/health/live`)).status).toBe(200);
    const missing = await fetch(`${console.url}/purge`);
    expect([missing.status, missing.headers.get('content-type')]).toEqual([
      404,
      'application/problem+json; charset=utf-8',
    ]);
    const board = await fetch(`${console.url}/queues/`);
    const html = await board.text();
    expect(html).toContain('Freshet queues (read-only)');
    const scripts = [...html.matchAll(/src="(static\/js\/[^"]+)"/g)].map(
      ([, path]) => `${console.url}/queues/${path}`,
    );
    expect(scripts.length).toBeGreaterThan(0);
    for (const script of scripts) expect((await fetch(script)).status).toBe(200);
    expect(board.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
  });

  test('merges the metrics of all API processes, and says when one is missing', async () => {
    const pages: string[] = [];
    for (const process of ['a', 'b']) {
      const server = createServer((_request, response) =>
        response.end(`# TYPE reads counter\nreads{process="${process}"} 1\n`),
      );
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
      closers.push(async () => server.close());
      pages.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    }
    const console = await open({ apiMetrics: () => pages });
    const metrics = async () => (await fetch(`${console.url}/metrics`)).text();
    expect(await metrics()).toBe('# TYPE reads counter\nreads{process="a"} 1\nreads{process="b"} 1\n');
    pages.push('http://127.0.0.1:1');
    expect(await metrics()).toMatch(/^# 1 of 3 API processes did not answer\n/);
    pages.splice(0, 2);
    expect((await fetch(`${console.url}/metrics`)).status).toBe(503);
  });

  test('answers loopback names only, so that no page can reach it under a name of its own', async () => {
    const console = await open();
    expect(await get(console, '/status', { Host: 'evil.example' })).toBe(403);
    expect(await get(console, '/status', { Host: '127.0.0.1.evil.example' })).toBe(403);
    expect(await get(console, '/status', { Host: `localhost:${new URL(console.url).port}` })).toBe(200);
  });

  test('beyond loopback is refused without a token, and shows nothing without it', async () => {
    await expect(open({ host: '0.0.0.0', operatorToken: null })).rejects.toThrow(
      expect.objectContaining({
        code: 'console-exposed',
        hint: expect.stringContaining('FRESHET_OPERATOR_TOKEN'),
      }),
    );
    const console = await open({ host: '0.0.0.0' });
    const at = console.url.replace('0.0.0.0', '127.0.0.1');
    for (const path of ['/', '/status', '/metrics', '/queues/api/queues']) {
      expect((await fetch(at + path, { headers: { Accept: 'application/json' } })).status).toBe(401);
      expect((await fetch(at + path, { headers: { ...bearer } })).status).toBe(200);
    }
    const page = await fetch(`${at}/`, { headers: { Accept: 'text/html' }, redirect: 'manual' });
    expect([page.status, page.headers.get('location')]).toEqual([303, '/login']);
    expect((await fetch(`${at}/health/live`)).status).toBe(200);
  });

  test('names a port that is taken', async () => {
    const console = await open();
    const { port } = new URL(console.url);
    await expect(open({ port: Number(port) })).rejects.toThrow(
      expect.objectContaining({ code: 'port-taken', message: expect.stringContaining(port) }),
    );
  });
});
