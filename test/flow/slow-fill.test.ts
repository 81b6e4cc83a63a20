import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { eventually } from '../support/eventually.ts';
import { openReading, type Reading, untilMode, untilSettled } from '../support/reading.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const ROWS = 20;
/** Longer than a filler of these tests is held. */
const LONG_LEASE_MS = 30_000;

const config = defineConfig({
  resources: {
    places: table('places', { write: 'cache-aside', rewarm: 'never', warmUp: { top: 0 } }),
    names: table('places', { columns: ['id', 'name'], rewarm: 'never', warmUp: { top: 0 } }),
  },
});

/**
 * A filler has asked, Postgres has answered, and then it takes its time: the garbage collector, a slow network, a
 * stopped process. What it holds grows old in its hands and must not be stored.
 */
describe('a fill that was delayed', () => {
  let world: World;
  let worker: TestProcess;
  let api: ApiProcess;
  let reading: Reading;
  let places: Resource;
  let nextRow = 0;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table places (id int primary key, name text, visits int not null default 0);
               insert into places select n, 'old' from generate_series(1, ${ROWS}) n`,
      config,
    });
    worker = await world.worker();
    api = await world.api();
    await world.fresh(api);
    reading = await openReading(world, config);
    places = reading.resource('places');
  });
  afterAll(async () => {
    worker?.signal('SIGCONT');
    await reading?.close();
    await world?.close();
  });

  /** A filling that has its answer from Postgres and is kept from going on. */
  async function slowFill(key: string, resource = places, leaseMs = LONG_LEASE_MS) {
    const held = reading.sessions.holdNext();
    const result = reading.filler(leaseMs).fill(resource, [key]);
    await held.answered;
    return {
      finish() {
        held.release();
        return result;
      },
    };
  }

  /** A row that no other test has touched. */
  function row(): string {
    nextRow += 1;
    return String(nextRow);
  }
  const tag = (key: string): string => slotOfRow(places, [key]).tag;
  const rename = (key: string): Promise<unknown> =>
    world.database.query(`update places set name = 'new' where id = $1`, [key]);

  async function expectShown(key: string, name = 'new'): Promise<void> {
    const { status, body } = await api.get(`/places/${key}`);
    expect(status).toBe(200);
    expect(body).toBe(`{"id":${key},"name":"${name}","visits":0}`);
  }

  test('is stored when nothing happened meanwhile', async () => {
    const key = row();
    const slow = await slowFill(key);
    await untilSettled(world);
    expect(await slow.finish()).toEqual({ status: 'stored', found: true });
    expect((await api.get(`/places/${key}`)).headers['cache-status']).toBe('freshet; hit');
    await expectShown(key, 'old');
  });

  test('is refused when the row was changed meanwhile', async () => {
    const key = row();
    const slow = await slowFill(key);
    await rename(key);
    await untilSettled(world);
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'fenced' });
    expect(await reading.servable(places, [key])).toBeNull();
    await expectShown(key);
  });

  test('is refused when the row was deleted, or inserted, meanwhile', async () => {
    const [gone, made] = [row(), String(ROWS + 1)];
    const slow = [await slowFill(gone), await slowFill(made)];
    await world.database.query('delete from places where id = $1', [gone]);
    await world.database.query(`insert into places values ($1, 'new')`, [made]);
    await untilSettled(world);
    // The record of a deleted row is also cleaned up, and the lease in it: either may come first.
    for (const one of slow) expect(await one.finish()).toMatchObject({ status: 'refused' });
    expect((await api.get(`/places/${gone}`)).status).toBe(404);
    await expectShown(made);
  });

  test('is refused in every representation of the row', async () => {
    const key = row();
    const names = reading.resource('names');
    const slow = [await slowFill(key), await slowFill(key, names)];
    await rename(key);
    await untilSettled(world);
    for (const one of slow) expect(await one.finish()).toEqual({ status: 'refused', reason: 'fenced' });
    expect(await reading.servable(names, [key])).toBeNull();
  });

  test('is refused when a change settled that its statement had seen as running', async () => {
    const key = row();
    const writer = await world.database.connect();
    await writer.query('begin');
    await writer.query(`update places set name = 'new' where id = $1`, [key]);
    const slow = await slowFill(key);
    await writer.query('commit');
    await writer.end();
    await untilSettled(world);
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'fenced' });
    await expectShown(key);
  });

  test('is refused when the write through the API fenced it, without any worker', async () => {
    const key = row();
    const slow = await slowFill(key);
    worker.signal('SIGSTOP');
    const written = await api.send('PATCH', `/places/${key}`, { name: 'new' });
    expect(written.status).toBeLessThan(300);
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'fenced' });
    await expectShown(key);
    worker.signal('SIGCONT');
    await untilMode(api, 'FRESH');
  });

  test('is refused when its lease was evicted, and the fence with it', async () => {
    const key = row();
    const slow = await slowFill(key);
    expect(await world.store.deleteRecord(tag(key))).toBe(true);
    await rename(key);
    await untilSettled(world);
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'lease_lost' });
    expect(await reading.servable(places, [key])).toBeNull();
    await expectShown(key);
  });

  test('is refused when its lease ran out and another filler has stored the new row', async () => {
    const key = row();
    const slow = await slowFill(key, places, 20);
    await rename(key);
    await untilSettled(world);
    await eventually(
      'the lease is taken over',
      () => reading.filler().fill(places, [key]),
      ({ status }) => status === 'stored',
    );
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'lease_lost' });
    expect((await reading.servable(places, [key]))!.body.toString()).toContain('new');
    expect((await api.get(`/places/${key}`)).headers['cache-status']).toBe('freshet; hit');
    await expectShown(key);
  });

  test('is refused when its lease ran out and another filler is under way', async () => {
    const key = row();
    const slow = await slowFill(key, places, 20);
    await rename(key);
    await untilSettled(world);
    await eventually(
      'the first lease has run out',
      () => world.store.lease(slotOfRow(places, [key]), 'any', 1, null),
      ({ kind }) => kind === 'granted',
    );
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'lease_lost' });
    await expectShown(key);
  });

  test('is fenced after its deadline too: the lease counts as long as it is in the record', async () => {
    const key = row();
    const slow = await slowFill(key, places, 1);
    await rename(key);
    await untilSettled(world);
    expect(await slow.finish()).toEqual({ status: 'refused', reason: 'fenced' });
    await expectShown(key);
  });

  test('of an older epoch is not served in the new one, though nobody fenced it', async () => {
    const key = row();
    const slow = await slowFill(key);
    worker.signal('SIGSTOP');
    const { tables } = (await world.store.control())!;
    await world.store.newEpoch(null, [...tables.values()]);
    await rename(key);
    await slow.finish();
    expect(await reading.servable(places, [key])).toBeNull();
    await expectShown(key);
    worker.signal('SIGCONT');
    await untilMode(api, 'FRESH');
    await expectShown(key);
  });

  test('of an older generation is not served in the new one', async () => {
    const key = row();
    const slow = await slowFill(key);
    await world.database.query('truncate places');
    await untilSettled(world);
    // No row of its own tells of a truncation: nothing fenced the lease.
    expect(await slow.finish()).toEqual({ status: 'stored', found: true });
    expect(await reading.servable(places, [key])).toBeNull();
    expect((await api.get(`/places/${key}`)).status).toBe(404);
    await world.database.query(`insert into places select n, 'old' from generate_series(1, ${ROWS}) n`);
    await untilSettled(world);
    await expectShown(key, 'old');
  });

  test('read in another life of the database than the cache is in, is refused', async () => {
    const key = row();
    worker.signal('SIGSTOP');
    await world.database.query('update freshet.alive set incarnation = gen_random_uuid()');
    // An hour's lease, and nobody waits for its end: it was given back.
    for (let tries = 0; tries < 2; tries += 1) {
      expect(await reading.filler(3_600_000).fill(places, [key])).toEqual({
        status: 'refused',
        reason: 'older_epoch',
      });
    }
    expect(await reading.servable(places, [key])).toBeNull();
    worker.signal('SIGCONT');
    await eventually(
      'the cache is in the new life too',
      () => reading.filler(1).fill(places, [key]),
      ({ status }) => status === 'stored',
    );
    await expectShown(key, 'old');
  });
});
