import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { table } from '../../shared/resources/define.ts';
import { eventually } from '../support/eventually.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

describe('a change that cannot be read', () => {
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table rivers (id int primary key, name text); insert into rivers values (1, 'Seine')`,
      config: { resources: { rivers: table('rivers', { warmUp: { top: 0 } }) } },
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  test('is kept, and everything it may have changed is read anew', async () => {
    await api.get('/rivers/1');
    expect((await api.get('/rivers/1')).headers['cache-status']).toBe('freshet; hit');
    const before = (await world.store.control())!;

    // Nobody can tell what a beat that is no beat was meant to be: it may stand for a stretch of anything.
    await world.database.query(`select pg_logical_emit_message(false, 'freshet.beat.0', 'not a beat', true)`);
    const after = await eventually(
      'a new generation',
      async () => (await world.store.control())!,
      control => control.tables.get('rivers')!.generation !== before.tables.get('rivers')!.generation,
    );
    expect(after.epoch).toBe(before.epoch);
    expect((await api.get('/rivers/1')).headers['cache-status']).not.toContain('hit');

    const { rows } = await world.database.query(
      `select feed, cause, encode(raw, 'escape') ~ 'not a beat|bm90IGEgYmVhdA' as has_bytes from freshet.dead_letter`,
    );
    expect(rows).toEqual([
      {
        feed: process.env.TEST_FEED ?? 'wal',
        cause: expect.stringContaining('SyntaxError'),
        has_bytes: true,
      },
    ]);
    expect(worker.log()).toContain('"event":"change.unreadable"');
  });

  test('does not keep the others from being followed', async () => {
    await world.fresh(api);
    await api.get('/rivers/1');
    await world.database.query(`update rivers set name = 'Loire'`);
    await eventually(
      'the edit',
      async () => (await api.get('/rivers/1')).body,
      body => body.includes('Loire'),
      1_000,
    );
  });

  test('is waited for while it cannot be kept: nothing moves past it', async () => {
    const blocker = await world.database.connect();
    await blocker.query('begin; lock table freshet.dead_letter in access exclusive mode');
    await world.database.query(
      `select pg_logical_emit_message(false, 'freshet.beat.0', 'again no beat', true)`,
    );
    await eventually(
      'the proof ends',
      async () => (await api.get('/health/ready')).body,
      body => body.includes('GUARDED'),
    );
    await blocker.query('commit');
    await world.fresh(api);
    const { rows } = await world.database.query('select count(*)::int as kept from freshet.dead_letter');
    expect(rows).toEqual([{ kept: 2 }]);
  });
});
