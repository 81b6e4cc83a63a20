import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Pool } from 'pg';
import { silentObserver } from '../../shared/observe.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { existingRows, firstKeys } from '../../shared/origin/row-keys.ts';
import { introspect } from '../../shared/resources/introspect.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let pool: Pool;
let tables: Map<string, TableShape>;

beforeAll(async () => {
  database = await createDatabase();
  await database.query(`
    create type mood as enum ('calm', 'cross');
    create schema billing;
    create table users (id int primary key);
    create table words (word varchar(5) primary key);
    create table billing.lines (mood mood, "on" date, id bigint, primary key (id, mood, "on"));
    insert into users values (30), (4), (11);
    insert into words values ('a:b,c'), ('abcde'), ('%''\\');
    insert into billing.lines values ('cross', '2024-02-29', 9007199254740993), ('calm', '0044-03-15 BC', 1);
  `);
  pool = createPool({
    url: database.url,
    max: 2,
    readOnly: true,
    statementTimeoutMs: 5_000,
    name: 'test',
    observer: silentObserver,
  });
  const shapes = await introspect((sql, params) => pool.query(sql, params));
  tables = new Map(shapes.map(shape => [shape.qualified, shape]));
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

describe('keys that have a row', () => {
  const existing = async (table: string, ...keys: string[][]) =>
    [...(await existingRows(pool, tables.get(table)!, keys))].sort();

  test('are found among others in one look', async () => {
    expect(await existing('users', ['30'], ['31'], ['4'], ['4'])).toEqual(['users:30', 'users:4']);
    expect(await existing('users')).toEqual([]);
  });

  test('may be composite, of any key type, and in any schema', async () => {
    expect(
      await existing(
        'billing.lines',
        ['9007199254740993', 'cross', '2024-02-29'],
        ['9007199254740992', 'cross', '2024-02-29'],
        ['1', 'calm', '0044-03-15 BC'],
        ['1', 'cross', '0044-03-15 BC'],
      ),
    ).toEqual(['billing.lines:1,calm,0044-03-15%20BC', 'billing.lines:9007199254740993,cross,2024-02-29']);
  });

  test('are not cut to the length of their column', async () => {
    expect(await existing('words', ['abcdef'], ['abcd'], ['a:b,c'], ["%'\\"])).toEqual([
      'words:%25%27%5C',
      'words:a%3Ab%2Cc',
    ]);
  });

  test('are found beside keys that no row can have', async () => {
    expect(await existing('users', ['30'], ['not a number'], ['99999999999999999999'], ['11'])).toEqual([
      'users:11',
      'users:30',
    ]);
    expect(
      await existing('billing.lines', ['1', 'merry', '2024-02-29'], ['1', 'calm', '0044-03-15 BC']),
    ).toHaveLength(1);
  });
});

describe('first keys', () => {
  test('come in the order of the primary key, no more than asked for', async () => {
    expect(await firstKeys(pool, tables.get('users')!, 2)).toEqual([['4'], ['11']]);
    expect(await firstKeys(pool, tables.get('billing.lines')!, 5)).toEqual([
      ['1', 'calm', '0044-03-15 BC'],
      ['9007199254740993', 'cross', '2024-02-29'],
    ]);
  });

  test('of a table that is gone are an error that says so', async () => {
    const gone = { ...tables.get('users')!, name: 'ghosts' };
    await expect(firstKeys(pool, gone, 1)).rejects.toThrow(
      expect.objectContaining({ code: 'database-error' }),
    );
    await expect(existingRows(pool, gone, [['1']])).rejects.toThrow(
      expect.objectContaining({ code: 'database-error' }),
    );
  });
});
