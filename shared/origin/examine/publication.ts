import type { FreshetConfig } from '../../resources/define.ts';
import { type Failure, sqlOf } from '../../resources/flaw.ts';
import type { Query } from '../../resources/introspect.ts';
import { readTables } from '../../resources/load-catalog.ts';
import { examineResources } from '../../resources/resolve.ts';
import type { Resource } from '../../resources/resource.ts';
import { PUBLISHED } from '../../resources/table-checks.ts';
import { PUBLICATION, type TableFacts } from '../../resources/table-facts.ts';
import { askFacts, type Finding, good, missing, note } from './finding.ts';

interface PublicationFacts {
  readonly exists: boolean;
  readonly allTables: boolean;
  /** Published tables whose updates and deletes the server refuses, because nothing names their rows. */
  readonly nameless: readonly { readonly table: string; readonly key: 'good' | 'deferrable' | null }[];
  /** Tables of schema public that could be published. */
  readonly candidates: readonly string[];
}

const FACTS = `
  select json_build_object(
    'exists', exists (select from pg_publication where pubname = $1),
    'allTables', exists (select from pg_publication where pubname = $1 and puballtables),
    'nameless', coalesce((
      select json_agg(json_build_object(
        'table', format('%I.%I', p.schemaname, p.tablename),
        'key', case i.indimmediate when true then 'good' when false then 'deferrable' end
      ) order by p.schemaname, p.tablename)
      from pg_publication_tables p
      join pg_publication pub on pub.pubname = p.pubname and (pub.pubupdate or pub.pubdelete)
      join pg_namespace n on n.nspname = p.schemaname
      join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
      left join pg_index i on i.indrelid = c.oid and i.indisprimary
      where p.pubname = $1 and c.relkind = 'r'
        and (c.relreplident = 'n' or c.relreplident = 'd' and not coalesce(i.indimmediate, false))
    ), '[]'::json),
    'candidates', coalesce((
      select json_agg(format('%I.%I', n.nspname, c.relname) order by c.relname)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
        and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
    ), '[]'::json)
  )::text as facts`;

/** `tables`: as SQL names them; none: all there are, and will be. */
const createSql = (tables: readonly string[]): string =>
  `create publication ${PUBLICATION} for ${tables.length === 0 ? 'all tables' : `table ${tables.join(', ')}`} with (publish_via_partition_root = true)`;

const absent = (tables: readonly string[]): Finding =>
  missing(`the publication ${PUBLICATION}`, {
    why:
      tables.length === 0
        ? 'It says which tables are told of.'
        : 'It says which tables are told of. Only those that can be served: publishing a table without a key has its updates and deletes refused.',
    sql: [createSql(tables)],
  });

/** The publication alone. `ofEverything`: in a database of our own, where tables come and go. */
export async function examinePublication(
  query: Query,
  { ofEverything }: { ofEverything: boolean },
): Promise<Finding[]> {
  const { exists, candidates } = await askFacts<PublicationFacts>(query, FACTS, [PUBLICATION]);
  return exists ? [] : [absent(ofEverything ? [] : candidates)];
}

export interface ExaminedTables {
  readonly findings: readonly Finding[];
  /** Those that could be served if the rest were mended. */
  readonly resources: readonly Resource[];
}

/**
 * The publication, and every table that is to be served: whether all its changes reach us under the key it is cached
 * by. Asked with the role that will read the rows. Without a configuration, what cannot be served is only noted.
 */
export async function examineTables(query: Query, config: FreshetConfig | null): Promise<ExaminedTables> {
  const publication = await askFacts<PublicationFacts>(query, FACTS, [PUBLICATION]);
  const database = await readTables(query, config);
  // A publication that is to be made will have all of them.
  const facts = publication.exists ? database.facts : database.facts.map(published);
  const { resources, failures } = examineResources(config, { ...database, facts });
  const isFatal = config !== null || resources.length === 0;
  const names = servedNames(resources, database.facts);
  return {
    resources,
    findings: [
      ...(publication.exists ? [covered(publication, names)] : [absent(names)]),
      ...checkNameless(publication),
      ...failures.map(failure => refused(failure, isFatal)),
    ],
  };
}

const published = (facts: TableFacts): TableFacts => ({
  ...facts,
  published: { missing: [], hasRowFilter: false, hasColumnList: false, viaRoot: true },
});

/** As SQL names them, each once. */
function servedNames(resources: readonly Resource[], facts: readonly TableFacts[]): string[] {
  const oids = new Set(resources.map(({ table }) => table.oid));
  return facts.filter(({ oid }) => oids.has(oid)).map(({ name }) => name);
}

function covered({ allTables }: PublicationFacts, names: readonly string[]): Finding {
  const extent = allTables ? 'all tables' : 'tables of its own choice';
  return good(
    `publication ${PUBLICATION} for ${extent}; ${names.length === 0 ? 'none is served yet' : `served from it: ${names.join(', ')}`}`,
  );
}

function checkNameless({ nameless, allTables }: PublicationFacts): Finding[] {
  const takeOut = (table: string): string => `alter publication ${PUBLICATION} drop table ${table}`;
  const identify = (table: string, by: 'default' | 'full'): string =>
    `alter table ${table} replica identity ${by}`;
  return nameless.map(({ table, key }) =>
    missing(`${table} is published and has nothing that names its rows`, {
      why: 'Postgres refuses to update and delete there, whoever tries.',
      sql: [
        key === null && !allTables ? takeOut(table) : identify(table, key === 'good' ? 'default' : 'full'),
      ],
      mend: key === null ? 'Or give it a primary key.' : null,
    }),
  );
}

function refused(failure: Failure, isFatal: boolean): Finding {
  const { resource, table, expected, came, mend } = failure;
  const sql = sqlOf(failure);
  const rest = {
    why: expected === PUBLISHED ? 'Its changes are not announced.' : null,
    sql: sql === null ? [] : [sql],
    mend: sql === null ? mend : null,
  };
  const where = resource === table ? table : `${resource} (table ${table})`;
  return isFatal
    ? missing(`${where}: expected ${expected}, found ${came}`, rest)
    : note(`${where} is not served: expected ${expected}, found ${came}`, rest);
}
