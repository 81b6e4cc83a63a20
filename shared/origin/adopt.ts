import type pg from 'pg';
import { FreshetError } from '../errors.ts';
import type { Query } from '../resources/introspect.ts';
import type { Finding } from './examine/finding.ts';
import { MARK_ALIVE } from './examine/objects.ts';
import { findLacks } from './lacks.ts';

export { type DatabaseSystem, identifySystem, namespaceOf, slotOf } from './system.ts';

type Queryable = Pick<pg.Pool | pg.Client, 'query'>;

export interface AdoptOptions {
  /** Run the statements. Otherwise a lack is an error that prints them: a foreign database is never changed unasked. */
  readonly apply: boolean;
  /** Slot of the feed, asked for only where nothing is applied, because the worker makes its own elsewhere; null: never. */
  readonly slot: string | null;
  /** Default: `wal`. */
  readonly feed?: 'wal' | 'kafka';
}

/**
 * Makes a database one that Freshet can follow, or says what is missing.
 * @throws FreshetError `database-not-prepared` with the SQL.
 */
export async function adoptDatabase(client: Queryable, options: AdoptOptions): Promise<void> {
  const { apply, slot, feed = 'wal' } = options;
  const query: Query = (sql, params = []) => client.query(sql, params);
  const look = (): Promise<Finding[]> => findLacks(query, { feed, slot: apply ? null : slot, isOurs: apply });
  let lacks = await look();
  if (apply) {
    for (const statement of lacks.flatMap(({ sql }) => sql))
      if (!/^alter (system|role)\b|^grant\b/.test(statement)) await client.query(statement);
    lacks = await look();
  }
  if (lacks.length === 0) return;
  const statements = lacks.flatMap(({ sql }) => sql);
  throw new FreshetError({
    code: 'database-not-prepared',
    message: `this database cannot be followed yet; it lacks:\n${lacks.map(lack => `  - ${lack.what}`).join('\n')}`,
    hint:
      statements.length === 0
        ? lacks.flatMap(({ mend }) => mend ?? []).join(' ')
        : `\`freshet doctor\` says why. Run, as a role that may:\n${statements.map(sql => `    ${sql};`).join('\n')}`,
  });
}

/** Writes a new incarnation where none is (a new database, or one that went through recovery); returns the one that stands. */
export async function markIncarnation(client: Queryable): Promise<string> {
  await client.query(MARK_ALIVE);
  const { rows } = await client.query('select incarnation::text from freshet.alive');
  return (rows[0] as { incarnation: string }).incarnation;
}
