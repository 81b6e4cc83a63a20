import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { probe } from '../../shared/origin/probe.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';

/** Tables that are published through their schema: the publication's own list says nothing of them. */
describe('the digest of a table that is published with its schema', () => {
  let database: TestDatabase;
  let client: pg.Client;

  beforeAll(async () => {
    database = await createDatabase();
    client = await database.connect();
    await client.query(`
      create schema freshet; create table freshet.alive (incarnation uuid);
      create schema shop; create table shop.goods (id int primary key); create table yards (id int primary key);
      create publication freshet for tables in schema shop, table yards`);
  });
  afterAll(() => database.drop());

  const digests = async () => {
    const { digests } = await probe(client, [
      { schema: 'shop', name: 'goods', qualified: 'shop.goods' },
      { schema: 'public', name: 'yards', qualified: 'yards' },
    ]);
    return { goods: digests.get('shop.goods'), yards: digests.get('yards') };
  };

  test('stays as it is while nothing changes', async () => {
    expect(await digests()).toEqual(await digests());
  });

  test.each([
    ['another schema joins', 'create schema other; alter publication freshet add tables in schema other'],
    ['another table joins', 'create table more (id int); alter publication freshet add table more'],
  ])('stays as it is when %s', async (_what, ddl) => {
    const before = await digests();
    await client.query(ddl);
    expect(await digests()).toEqual(before);
  });

  test('is another one when the schema is taken out and put back, and only for its tables', async () => {
    const before = await digests();
    await client.query(`
      begin; alter publication freshet drop tables in schema shop;
      alter publication freshet add tables in schema shop; commit`);
    const after = await digests();
    expect(after.goods).not.toBe(before.goods);
    expect(after.yards).toBe(before.yards);
  });
});
