import type { FreshetConfig } from './define.ts';
import { introspect, type Query, splitName } from './introspect.ts';
import { type Database, resolveCatalog } from './resolve.ts';
import type { Catalog } from './resource.ts';
import { tableFacts } from './table-facts.ts';

/**
 * Reads the catalogs and resolves the resources against them.
 * Asked with the role that will read the rows: row-level security is judged for it.
 * @throws FreshetError `bad-resources`.
 */
export async function loadCatalog(query: Query, config: FreshetConfig | null): Promise<Catalog> {
  const { shapes, facts } = await readTables(query, config);
  return resolveCatalog(config, shapes, facts);
}

/** All that the resources are judged by: two statements, three when a declared table is missing. */
export async function readTables(query: Query, config: FreshetConfig | null): Promise<Database> {
  const tables = config && Object.values(config.resources).map(declaration => declaration.table);
  let shapes = await introspect(query, tables ? { tables } : {});
  const isThere = (table: string): boolean => {
    const [schema, name] = splitName(table);
    return shapes.some(shape => shape.schema === schema && shape.name === name);
  };
  // Only all the others can tell which name was meant.
  if (tables && !tables.every(isThere)) shapes = [...shapes, ...(await introspect(query))];
  return { shapes, facts: await tableFacts(query, shapes) };
}
