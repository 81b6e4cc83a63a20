import type pg from 'pg';
import { NO_CONFIG_FILE, readConfigFile } from '../../shared/resources/config-file.ts';

const demoTables = ['cities', 'countries', 'teams', 'users'];

/**
 * What FRESHET_CONFIG is to be for a database of somebody else's where nothing is set: the demo's own file lies in the
 * usual place, and declares tables that are not there. Any other file in that place is meant.
 */
export async function resourcesFor(client: pg.Client, folder: string): Promise<string | null> {
  const config = await readConfigFile(null, folder);
  if (!config) return null;
  const declared = Object.values(config.resources).map(({ table }) => table);
  if (declared.toSorted().join() !== demoTables.join()) return null;
  const { rows } = await client.query(
    'SELECT bool_and(to_regclass(name) IS NOT NULL) AS "areThere" FROM unnest($1::text[]) AS name',
    [declared],
  );
  return rows[0].areThere ? null : NO_CONFIG_FILE;
}
