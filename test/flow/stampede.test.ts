import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { counted } from '../support/metrics.ts';
import { CHECK, LOG_STATEMENTS, READING, statementsLogged } from '../support/postgres-log.ts';
import { openReading, type Reading, untilMode } from '../support/reading.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import {
  type ApiProcess,
  type HttpAnswer,
  openWorld,
  type TestProcess,
  type World,
} from '../support/world.ts';

const CROWD = 1_000;
/** How long a reader waits for somebody else's fill. */
const LEASE_WAIT_MS = 1_000;
const SLACK_MS = 500;

const config = defineConfig({
  resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
});

describe('many who want one row at the same moment', () => {
  let postgres: TestServer;
  let world: World;
  let worker: TestProcess;
  let apis: [ApiProcess, ApiProcess];
  let reading: Reading;

  beforeAll(async () => {
    postgres = await startPostgres({ settings: LOG_STATEMENTS });
    world = await openWorld({
      databaseUrl: postgres.url,
      schema: `create table places (id int primary key, name text);
               insert into places select n, 'place ' || n from generate_series(1, 50) n`,
      config,
    });
    worker = await world.worker();
    apis = [await world.api(), await world.api()];
    for (const api of apis) await world.fresh(api);
    reading = await openReading(world, config);
  }, 60_000);
  afterAll(async () => {
    worker?.signal('SIGCONT');
    await reading?.close();
    await world?.close();
    await postgres?.stop();
  });

  const crowd = (path: string): Promise<HttpAnswer[]> =>
    Promise.all(Array.from({ length: CROWD }, (_, i) => apis[i % 2]!.get(path)));

  const loads = async (): Promise<number> => {
    const each = await Promise.all(apis.map(api => counted(api, 'freshet_cache_origin_loads_total')));
    return each.reduce((sum, count) => sum + count, 0);
  };

  /** Queries for rows while `work` runs: as the processes count them, and as the server's log does. */
  async function queriesDuring(work: () => Promise<unknown>): Promise<{ counted: number; logged: number }> {
    const before = { counted: await loads(), logged: statementsLogged(postgres, READING) };
    await work();
    return {
      counted: (await loads()) - before.counted,
      logged: statementsLogged(postgres, READING) - before.logged,
    };
  }

  test.each([
    ['a row', '/places/1', 200, '{"id":1,"name":"place 1"}'],
    ['an absent row', '/places/999', 404, null],
  ])(`${CROWD} readers in two processes cost one query: %s`, async (_what, path, status, body) => {
    let answers: HttpAnswer[] = [];
    const queries = await queriesDuring(async () => {
      answers = await crowd(path);
    });
    expect(queries).toEqual({ counted: 1, logged: 1 });
    expect(answers.map(answer => answer.status)).toEqual(Array(CROWD).fill(status));
    if (body) expect(new Set(answers.map(answer => answer.body))).toEqual(new Set([body]));
    expect(new Set(answers.map(answer => answer.headers.etag)).size).toBe(1);
    const makers = answers.filter(({ headers }) => headers['cache-status']!.includes('fwd=uri-miss; stored'));
    expect(makers).toHaveLength(1);
  });

  test('and one query once the row was changed', async () => {
    await crowd('/places/2');
    await world.database.query(`update places set name = 'new' where id = 2`);
    const slot = slotOfRow(reading.resource('places'), ['2']);
    await eventually(
      'the old row is gone',
      () => world.store.readRow(slot),
      ({ entry }) => entry === null,
    );
    let answers: HttpAnswer[] = [];
    const queries = await queriesDuring(async () => {
      answers = await crowd('/places/2');
    });
    expect(queries).toEqual({ counted: 1, logged: 1 });
    expect(new Set(answers.map(answer => answer.body))).toEqual(new Set(['{"id":2,"name":"new"}']));
  });

  test('who asks after the statement was sent is not given its answer', async () => {
    const places = reading.resource('places');
    const reader = reading.reader();
    const held = reading.sessions.holdNext();
    const early = reader.read(places, ['3']);
    await held.answered;
    await world.database.query(`update places set name = 'new' where id = 3`);
    const late = Array.from({ length: 5 }, () => reader.read(places, ['3']));
    // What they wait for is the flight, not the database: it is still in the air.
    await Promise.all(late.map(() => new Promise(setImmediate)));
    held.release();
    expect((await early).body.toString()).toContain('place 3');
    for (const { body } of await Promise.all(late)) expect(body.toString()).toContain('new');
  });

  test('the lease of a filler that died costs them a bounded wait, and nothing is stored over it', async () => {
    const places = reading.resource('places');
    const slot = slotOfRow(places, ['4']);
    const { control } = await world.store.readRow(slot);
    const lease = await world.store.lease(slot, control!.stamp, 60_000, null);
    expect(lease.kind).toBe('granted');

    const startMs = performance.now();
    let answers: HttpAnswer[] = [];
    const queries = await queriesDuring(async () => {
      answers = await Promise.all(Array.from({ length: 40 }, (_, i) => apis[i % 2]!.get('/places/4')));
    });
    expect(performance.now() - startMs).toBeLessThan(LEASE_WAIT_MS + SLACK_MS);
    for (const { body, headers } of answers) {
      expect(body).toBe('{"id":4,"name":"place 4"}');
      expect(headers['cache-status']).toMatch(/fwd=uri-miss;.* detail=lease_lost$/);
      expect(headers['cache-status']).not.toContain('stored');
    }
    expect(queries).toEqual({ counted: 2, logged: 2 });
    expect(await reading.servable(places, ['4'])).toBeNull();
    // The lease is still its own: had it not died, its fill would be taken.
    const meta = { ...(await entryMeta()), fillId: (lease as { token: string }).token };
    const snapshot = '1:1:';
    const body = Buffer.from('{}');
    expect(await world.store.fill(slot, meta.fillId, snapshot, body, meta, 0)).toBe('stored');
    await world.store.deleteRecord(slot.tag);
  });

  const entryMeta = async () => (await reading.servable(reading.resource('places'), ['1']))!.meta;

  test('a few checks are enough for all of them while nothing is proven', async () => {
    await apis[0].get('/places/5');
    worker.signal('SIGSTOP');
    for (const api of apis) await untilMode(api, 'GUARDED');
    const asked = (): number => statementsLogged(postgres, CHECK) + statementsLogged(postgres, READING);
    const before = asked();
    const answers = await crowd('/places/5');
    expect(new Set(answers.map(answer => answer.body))).toEqual(new Set(['{"id":5,"name":"place 5"}']));
    for (const { headers } of answers) expect(headers['cache-status']).toMatch(/detail="?(GUARDED|BYPASS)/);
    // One in each process while nothing is known, one more for those who came while it was under way; and after
    // every second that a slow machine takes for all this, the same again.
    expect(asked() - before).toBeGreaterThanOrEqual(2);
    expect(asked() - before).toBeLessThanOrEqual(20);
    worker.signal('SIGCONT');
  });
});
