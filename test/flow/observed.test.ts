import { get } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const read = (url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get(url, { agent: false }, async res => {
      let text = '';
      for await (const chunk of res) text += chunk;
      resolve(text);
    }).on('error', reject);
  });

describe('real processes, seen from outside', () => {
  let receiver: OtlpReceiver;
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;

  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    world = await openWorld({
      schema: `create table users (id int primary key, name text); insert into users values (1, 'Ada')`,
      config: { resources: { users: table('users', { write: 'write-through', warmUp: { top: 0 } }) } },
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
        OTEL_BSP_SCHEDULE_DELAY: '100',
        OTEL_METRIC_EXPORT_INTERVAL: '500',
        LOG_LEVEL: 'debug',
      },
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(async () => {
    await world?.close();
    await receiver?.close();
  });

  const span = (what: string, accept: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan> =>
    eventually(
      what,
      () => receiver.spans.find(accept),
      found => found !== undefined,
    ) as Promise<ReceivedSpan>;

  test('a write through the API arrives as one trace, which its answer names', async () => {
    const answer = await api.send('PATCH', '/users/1', { name: 'Grace' });
    expect(answer.status).toBe(200);
    const traceId = answer.headers.traceparent!.split('-')[1];
    const root = await span('the write', one => one.traceId === traceId && one.parentSpanId === '');
    expect(root).toMatchObject({ service: 'freshet-api', name: 'write' });
    expect(root.attributes).toMatchObject({ resource: 'users', op: 'update' });
  });

  test('a write continues the trace of its caller', async () => {
    const traceId = `${'a'.repeat(31)}1`;
    const answer = await api.send(
      'PATCH',
      '/users/1',
      { name: 'Ada' },
      { traceparent: `00-${traceId}-${'b'.repeat(16)}-01` },
    );
    expect(answer.headers.traceparent).toContain(traceId);
    expect(await span('the write', one => one.traceId === traceId)).toMatchObject({
      parentSpanId: 'b'.repeat(16),
    });
  });

  test('a change made past the API arrives as one trace from commit to settled', async () => {
    const { rows } = await world.database.query(
      `update users set name = 'Joan' returning pg_current_xact_id()::text as xid`,
    );
    const root = await span(
      'the change',
      one => one.attributes['freshet.xid'] === rows[0].xid && one.parentSpanId === '',
    );
    expect(root).toMatchObject({ service: 'freshet-worker', name: 'change users' });
    const stages = await eventually(
      'its stages',
      () => receiver.spans.filter(one => one.parentSpanId === root.spanId),
      found => found.length === 3,
    );
    expect(stages.map(one => one.name).sort()).toEqual(['apply', 'capture', 'settle']);
    expect(new Set(stages.map(one => one.traceId))).toEqual(new Set([root.traceId]));
  });

  test('metrics of both processes arrive, and stand under /metrics as well', async () => {
    await api.get('/users/1');
    await api.get('/users/1');
    const count = (name: string): number =>
      receiver.metrics.get(name)?.points.reduce((sum, point) => sum + point.value, 0) ?? 0;
    await eventually(
      'reads',
      () => count('freshet.cache.requests'),
      seen => seen >= 2,
    );
    await eventually(
      'changes',
      () => count('freshet.change.events'),
      seen => seen >= 3,
    );

    const ofApi = await read(`${api.metrics}/metrics`);
    expect(ofApi).toMatch(
      /freshet_cache_requests_total\{[^}]*resource="users"[^}]*result="hit"[^}]*\} [1-9]/,
    );
    expect(ofApi).toMatch(/freshet_cache_proof_age_seconds\{[^}]*\} 0\.\d/);
    const ofWorker = await read(`${worker.metrics}/metrics`);
    expect(ofWorker).toMatch(/freshet_invalidation_lag_seconds_count\{[^}]*table="users"[^}]*\} [1-9]/);
    expect(ofWorker).toMatch(/freshet_queue_jobs\{[^}]*queue="rewarm"[^}]*\} \d/);
  });

  test('what a write logs carries the id of its trace', async () => {
    const answer = await api.send('PATCH', '/users/1', { name: 'Edith' });
    const traceId = answer.headers.traceparent!.split('-')[1];
    const lines = await eventually(
      'the log line',
      () =>
        api
          .log()
          .split('\n')
          .filter(line => line.includes('write.committed')),
      found => found.some(line => line.includes(traceId!)),
    );
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({
      event: 'write.committed',
      trace_id: traceId,
      role: 'api',
    });
  });
});
