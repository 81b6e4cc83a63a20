import type pg from 'pg';
import type { Query } from '../resources/introspect.ts';
import { originError } from './pool.ts';

/** A pool as those see it who only ask, and want to be told in one way when it cannot answer. */
export const queryOf =
  (pool: Pick<pg.Pool, 'query'>, doing: string): Query =>
  async (sql, params = []) => {
    try {
      return await pool.query(sql, params);
    } catch (error) {
      throw originError(doing, error);
    }
  };
