import type pg from 'pg';
import { type RowTag, rowTag } from '../resources/keys.ts';
import type { TableShape } from '../resources/resource.ts';
import { originError } from './pool.ts';
import { quoteIdentifier, quoteTable } from './quote.ts';
import { keyCondition } from './read.ts';

type Queryable = Pick<pg.Pool | pg.Client, 'query'>;
type Key = readonly string[];

/** A text that is no value of the column's type (any more): no row can have it. */
const IMPOSSIBLE_VALUE = /^22/;

const keyColumns = (table: TableShape): string =>
  table.key.map((column, i) => `t.${quoteIdentifier(column.name)}::text as k${i}`).join(', ');

const keyOf = (table: TableShape, row: Record<string, unknown>): string[] =>
  table.key.map((_, i) => String(row[`k${i}`]));

/**
 * Which of these keys have a row now, as tags; one statement.
 * @throws FreshetError as `originError` says.
 */
export async function existingRows(
  pool: Queryable,
  table: TableShape,
  keys: readonly Key[],
): Promise<Set<RowTag>> {
  const names = table.key.map((_, i) => `k${i}`);
  const arrays = table.key.map((column, i) => `$${i + 1}::${column.baseType}[]`);
  const match = table.key.map((column, i) => `t.${quoteIdentifier(column.name)} = asked.k${i}`);
  const text = `select ${keyColumns(table)} from unnest(${arrays.join(', ')}) as asked(${names.join(', ')})
    join ${quoteTable(table)} t on ${match.join(' and ')}`;
  try {
    const { rows } = await pool.query({ text, values: table.key.map((_, i) => keys.map(key => key[i]!)) });
    return new Set(rows.map(row => rowTag(table.qualified, keyOf(table, row))));
  } catch (error) {
    if (!isImpossible(error)) throw originError(`looking for rows of ${table.qualified}`, error);
    return existingOneByOne(pool, table, keys);
  }
}

/** One impossible key fails the whole statement: the others are asked for by themselves. */
async function existingOneByOne(
  pool: Queryable,
  table: TableShape,
  keys: readonly Key[],
): Promise<Set<RowTag>> {
  const existing = new Set<RowTag>();
  for (const key of keys) if (await isThere(pool, table, key)) existing.add(rowTag(table.qualified, key));
  return existing;
}

async function isThere(pool: Queryable, table: TableShape, key: Key): Promise<boolean> {
  const text = `select from ${quoteTable(table)} t where ${keyCondition(table, 't')}`;
  try {
    const { rows } = await pool.query({ text, values: [...key] });
    return rows.length > 0;
  } catch (error) {
    if (isImpossible(error)) return false;
    throw originError(`looking for a row of ${table.qualified}`, error);
  }
}

/** The first keys of a table in the order of its primary key. @throws FreshetError as `originError` says. */
export async function firstKeys(pool: Queryable, table: TableShape, limit: number): Promise<string[][]> {
  const order = table.key.map(column => `t.${quoteIdentifier(column.name)}`).join(', ');
  const text = `select ${keyColumns(table)} from ${quoteTable(table)} t order by ${order} limit $1`;
  try {
    const { rows } = await pool.query({ text, values: [limit] });
    return rows.map(row => keyOf(table, row));
  } catch (error) {
    throw originError(`listing keys of ${table.qualified}`, error);
  }
}

const isImpossible = (error: unknown): boolean =>
  IMPOSSIBLE_VALUE.test(String((error as { code?: unknown }).code));
