import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

describe('a database that was stopped and started', () => {
  let server: TestServer;
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;

  beforeAll(async () => {
    // Without a file that asks for recovery, nobody ever runs the command.
    server = await startPostgres({ settings: { restore_command: 'false' } });
    world = await openWorld({
      databaseUrl: server.url,
      schema: `create table peaks (id int primary key, name text);
               insert into peaks select n, 'peak ' || n from generate_series(1, 9) n`,
      config: { resources: { peaks: table('peaks', { warmUp: { top: 0 }, rewarm: 'never' }) } },
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(async () => {
    await world?.close();
    await server?.stop();
  });

  const marker = (): Promise<string> =>
    world.database
      .query('select incarnation from freshet.alive')
      .then(({ rows }) => rows[0]?.incarnation ?? '');
  const named = (id: number, name: string): string => JSON.stringify({ id, name });

  test('in good order keeps the cache: no new epoch', async () => {
    const { headers } = await warm(api, '/peaks/5');
    const before = await epochOf(world);
    const incarnation = await marker();
    // A server that shuts down waits until its consumers have all of the log: settled or not, it must not wait long.
    for (const settled of [true, false, true, false]) {
      await world.database.query('update peaks set name = name where id = 4');
      if (settled) await warm(api, '/peaks/4');
      await server.halt();
      await isNotProven(api);
      await server.restart();
      await world.fresh(api);
      // Not killed in the end for being slow to stop: that would have been a crash.
      expect(await marker()).toBe(incarnation);
    }
    expect(await epochOf(world)).toBe(before);
    const again = await api.get('/peaks/5', { 'If-None-Match': headers.etag! });
    expect([again.status, again.headers['cache-status']]).toEqual([304, 'freshet; hit']);
  }, 90_000);

  test('other-timeline: recovered up to the end of its log, it went on in another one', async () => {
    await warm(api, '/peaks/6');
    const before = await epochOf(world);
    const { rows: settings } = await world.database.query('show data_directory');
    await server.halt();
    const [{ data_directory: folder }] = settings as [{ data_directory: string }];
    writeFileSync(join(folder, 'recovery.signal'), '');
    await server.restart();
    await eventually(
      'recovery has ended',
      () => world.database.query("update peaks set name = 'there' where id = 6"),
      ({ rowCount }) => rowCount === 1,
    );
    await eventually(
      'row 6',
      () => api.get('/peaks/6'),
      answer => answer.body === named(6, 'there'),
      1_000,
    );
    await eventually(
      'the gap is closed',
      () => gapsClosed(worker).at(-1),
      cause => cause === 'other-timeline',
    );
    await world.fresh(api);
    expect(await epochOf(world)).not.toBe(before);
    expect((await warm(api, '/peaks/6')).body).toBe(named(6, 'there'));
    const { rows } = await world.database.query('select timeline_id from pg_control_checkpoint()');
    expect(rows).toEqual([{ timeline_id: 2 }]);
  }, 60_000);
});
