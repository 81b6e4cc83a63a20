import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { warm } from '../support/gap.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const BOUND_MS = 1_000;

describe('without a configuration', () => {
  let world: World;
  let api: ApiProcess;

  beforeAll(async () => {
    world = await openWorld({
      schema: `create table birds (id int primary key, name text);
               insert into birds select n, 'bird ' || n from generate_series(1, 5) n;
               create table keyless (id int);`,
    });
    await world.worker();
    api = await world.api();
    await world.fresh(api);
  });
  afterAll(() => world?.close());

  test('every table with a primary key is served, and read-only', async () => {
    expect((await api.get('/birds/1')).body).toBe('{"id":1,"name":"bird 1"}');
    expect((await api.get('/keyless/1')).status).toBe(404);
    expect((await api.send('PATCH', '/birds/1', { name: 'x' })).status).toBe(405);
    expect((await api.send('DELETE', '/birds/1')).status).toBe(405);
  });

  test('a table that can be followed no more is not cached, and followed again when it can', async () => {
    await warm(api, '/birds/2');
    await world.database.query('create table owls (primary key (id)) inherits (birds)');
    await eventually(
      'not cached',
      () => api.get('/birds/2'),
      answer => answer.headers['cache-status']!.includes('not_cacheable'),
      BOUND_MS,
    );
    await world.database.query(`insert into owls values (2000, 'owl')`);
    expect((await api.get('/birds/2000')).body).toBe('{"id":2000,"name":"owl"}');
    await world.database.query(`update owls set name = 'eagle owl'`);
    expect((await api.get('/birds/2000')).body).toBe('{"id":2000,"name":"eagle owl"}');

    await world.database.query('drop table owls');
    await warm(api, '/birds/2');
    await world.database.query(`update birds set name = 'swift' where id = 2`);
    await eventually(
      'the edit',
      async () => (await api.get('/birds/2')).body,
      body => body.includes('swift'),
      BOUND_MS,
    );
  });
});
