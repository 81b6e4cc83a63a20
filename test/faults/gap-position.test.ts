import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { GapCause } from '../../shared/observe.ts';
import { table } from '../../shared/resources/define.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, followGap, gapsClosed, isNotProven, warm } from '../support/gap.ts';
import { holdTransaction } from '../support/held-transaction.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

/** What the worker remembers, and what the source says of itself, do not fit together. */
describe('a position that cannot be gone on from', () => {
  let world: World;
  let api: ApiProcess;
  let epochs: EpochWatch | undefined;
  let starting: Promise<TestProcess> | undefined;
  let worker: TestProcess;
  let redis: Redis;
  let position: string;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table rivers (id int primary key, name text);
               insert into rivers select n, 'river ' || n from generate_series(1, 9) n`,
      config: { resources: { rivers: table('rivers', { warmUp: { top: 0 } }) } },
    });
    redis = new Redis(world.cacheUrl);
    position = keysOf(world.namespace).feed('wal');
    worker = await world.worker();
    api = await world.api();
  });
  beforeEach(() => world.fresh(api));
  afterEach(async () => {
    epochs?.close();
    worker = (await starting) ?? worker;
  });
  afterAll(async () => {
    redis?.disconnect();
    await world?.close();
  });

  /** The worker is gone, something happens, the next one finds it. */
  const betweenTwoWorkers = (happens: () => Promise<unknown>) => async (): Promise<void> => {
    await worker.stop();
    await happens();
    // Is ready only behind the barrier, or after a while.
    starting = world.worker();
  };
  const change = (text: string): Promise<unknown> =>
    world.database.query('update rivers set name = $1 where id = 1', [text]);

  const lost: readonly [GapCause, string, () => Promise<unknown>][] = [
    [
      'slot-ahead',
      'the slot was advanced by hand past a change',
      async () => {
        await change('lost: slot-ahead');
        await world.database.query('select pg_replication_slot_advance($1, pg_current_wal_lsn())', [
          world.slot,
        ]);
      },
    ],
    ['position-unknown', 'the cache forgot the position', () => redis.del(position)],
    [
      'position-unknown',
      'the position is that of another slot',
      () => redis.hset(position, 'slot', 'freshet_wal_of_somebody_else'),
    ],
    ['other-system', 'the position is of another database system', () => redis.hset(position, 'system', '1')],
    ['other-timeline', 'the position is of another timeline', () => redis.hset(position, 'timeline', '7')],
    ['ordered', 'an epoch was ordered meanwhile', () => world.store.newEpoch(null, [])],
    [
      'control-missing',
      'the control record was evicted meanwhile',
      () => redis.del(keysOf(world.namespace).control),
    ],
  ];

  test.each(lost)('%s: %s', async (cause, _what, happens) => {
    const path = '/rivers/1';
    const { rows } = await world.database.query('select name from rivers where id = 1');
    const name = cause === 'slot-ahead' ? 'lost: slot-ahead' : (rows[0] as { name: string }).name;
    await followGap({
      world,
      api,
      path,
      cause,
      provoke: betweenTwoWorkers(happens),
      body: JSON.stringify({ id: 1, name }),
    });
    worker = (await starting)!;
    expect(gapsClosed(worker)).toEqual([cause]);
  });

  test('slot-missing: the slot was dropped, and its making waits for whoever writes', async () => {
    const old = await warm(api, '/rivers/1');
    const before = await epochOf(world);
    epochs = await watchEpochs(world);
    await worker.stop();
    await change('lost: slot-missing');
    await world.database.query('select pg_drop_replication_slot($1)', [world.slot]);
    const held = await holdTransaction(world.database.url);
    starting = world.worker();
    const record = await eventually(
      'status names who is waited for',
      async () => (await world.store.processes()).find(({ role }) => role === 'worker'),
      seen => (seen?.waitingFor ?? []).length > 0,
    );
    expect(record!.waitingFor).toContainEqual(
      expect.objectContaining({ pid: held.pid, database: held.database, ageSeconds: expect.any(Number) }),
    );
    await isNotProven(api);
    expect((await api.get('/rivers/1')).body).toContain('lost: slot-missing');
    await held.commit();
    await held.end();
    worker = await starting;
    await world.fresh(api);
    expect(gapsClosed(worker)).toEqual(['slot-missing']);
    expect(epochs.given).toHaveLength(2);
    expect(new Set([before, ...epochs.given]).size).toBe(3);
    expect((await warm(api, '/rivers/1')).body).toContain('lost: slot-missing');
    expect((await api.get('/rivers/1', { 'If-None-Match': old.headers.etag! })).status).toBe(200);
  });
});
