import http from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type AdminListener, type Readiness, startAdminListener } from '../../observability/listener.ts';

describe('the admin listener', () => {
  let listener: AdminListener;
  let readiness: Readiness = { ok: true, conditions: {} };
  const start = async (metricsText = async () => 'up 1\n') => {
    listener = await startAdminListener({ metricsText, ready: () => readiness });
  };
  afterEach(() => listener.close());

  test('serves metrics and health on a free port of the loopback', async () => {
    await start();
    expect(listener.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const metrics = await fetch(`${listener.url}/metrics?x=1`);
    expect([metrics.status, await metrics.text()]).toEqual([200, 'up 1\n']);
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const live = await fetch(`${listener.url}/health/live`);
    expect([live.status, await live.json()]).toEqual([200, { status: 'live' }]);
    const head = await fetch(`${listener.url}/metrics`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '5', '']);
  });

  test('readiness is one word over named conditions, and 503 while it is not there', async () => {
    await start();
    readiness = { ok: false, conditions: { redis: true, proof: 'none yet' } };
    const unready = await fetch(`${listener.url}/health/ready`);
    expect([unready.status, await unready.json()]).toEqual([
      503,
      { status: 'unready', conditions: { redis: true, proof: 'none yet' } },
    ]);
    readiness = { ok: true, conditions: { redis: true, proof: true } };
    const ready = await fetch(`${listener.url}/health/ready`);
    expect([ready.status, (await ready.json()) as object]).toEqual([
      200,
      { status: 'ready', conditions: { redis: true, proof: true } },
    ]);
  });

  test('anything else is 404, other methods 405, trouble 500', async () => {
    await start(() => Promise.reject(new Error('closed')));
    expect((await fetch(`${listener.url}/users/1`)).status).toBe(404);
    const posted = await fetch(`${listener.url}/metrics`, { method: 'POST', body: 'x' });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    const failed = await fetch(`${listener.url}/metrics`);
    expect([failed.status, await failed.text()]).toEqual([500, 'closed\n']);
  });

  test('a taken port is an error, not silence', async () => {
    await start();
    const port = Number(new URL(listener.url).port);
    const options = { metricsText: async () => '', ready: () => readiness, port };
    await expect(startAdminListener(options)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('neither a kept connection nor one that never asks holds the close', async () => {
    await start();
    const agent = new http.Agent({ keepAlive: true });
    await new Promise<void>((resolve, reject) => {
      http
        .get(`${listener.url}/health/live`, { agent }, response => response.resume().on('end', resolve))
        .on('error', reject);
    });
    const { hostname, port } = new URL(listener.url);
    const silent = connect(Number(port), hostname);
    await new Promise(resolve => silent.once('connect', resolve));
    silent.write('GET /metrics HTTP/1.1\r\nHost:');
    const silentEnded = new Promise(resolve => silent.once('close', resolve).on('error', () => {}));
    const began = performance.now();
    await listener.close();
    await silentEnded;
    expect(performance.now() - began).toBeLessThan(3_000);
    agent.destroy();
  });
});
