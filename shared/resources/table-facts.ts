import type { Query } from './introspect.ts';
import type { TableShape } from './resource.ts';

export type Storage = 'permanent' | 'unlogged' | 'temporary';
export type RelationKind = 'table' | 'partitioned table' | 'view' | 'materialized view' | 'foreign table';

/** How the publication carries a table's changes. */
export interface Published {
  /** Operations that are left out of the publication. */
  readonly missing: readonly ('insert' | 'update' | 'delete' | 'truncate')[];
  readonly hasRowFilter: boolean;
  readonly hasColumnList: boolean;
  /** Changes of partitions are told under the name of the partitioned table. */
  readonly viaRoot: boolean;
}

/** A relation that holds rows: a table, or one leaf of a partitioned one. */
export interface RowHolder {
  /** `schema.name`, quoted where SQL needs it. */
  readonly name: string;
  readonly kind: RelationKind;
  readonly storage: Storage;
  readonly replicaIdentity: TableShape['replicaIdentity'];
  /** The index of `REPLICA IDENTITY USING INDEX`, where that is another one than the primary key. */
  readonly identityIndex: string | null;
}

/** A trigger that runs before every insert or update of a row, under `session_replication_role` replica as well. */
export interface RowTrigger {
  /** `schema.function` */
  readonly function: string;
  readonly arguments: readonly string[];
  readonly onInsert: boolean;
  readonly onUpdate: boolean;
}

/** What the boot checks want to know of a table besides its shape. */
export interface TableFacts extends RowHolder {
  readonly oid: number;
  readonly partitionOf: string | null;
  /** Leaves of a partitioned table, at any depth. */
  readonly partitions: readonly RowHolder[];
  /** Tables that inherit from this one without being partitions. */
  readonly children: readonly string[];
  /** Whether row-level security decides what the role that asked may see. */
  readonly rowSecurity: boolean;
  readonly deferrableKey: boolean;
  /** Primary key columns that Postgres computes from others: they are not in the replication stream. */
  readonly computedKeyColumns: readonly string[];
  readonly publicationExists: boolean;
  /** Null: not in the publication. */
  readonly published: Published | null;
  readonly triggers: readonly RowTrigger[];
}

export const PUBLICATION = 'freshet';

/** Facts of tables by oid, in one statement; as the connected role sees them. */
export async function tableFacts(
  query: Query,
  shapes: readonly Pick<TableShape, 'oid'>[],
): Promise<TableFacts[]> {
  const { rows } = await query(FACTS, [JSON.stringify(shapes.map(shape => shape.oid)), PUBLICATION]);
  return rows.map(row => JSON.parse(row.facts as string) as TableFacts);
}

/**
 * SQL of the schemas that are in a publication as a whole: `schema`, and `entry` with `xmin`, which are others when
 * one is taken out and put back. Their own catalog came with Postgres 15; who depends on a publication is written
 * down in every version. Begins with what depends on the publication, whatever the planner thinks (`offset 0`), and
 * leaves out its tables, which may be thousands.
 */
export const schemasIn = (publication: string): string => `
  select s.refobjid as schema, d.objid as entry, d.xmin
  from (
    select classid, objid, xmin from pg_catalog.pg_depend
    where refclassid = 'pg_catalog.pg_publication'::regclass and refobjid = ${publication}
      and classid <> 'pg_catalog.pg_publication_rel'::regclass
    offset 0
  ) d
  join pg_catalog.pg_depend s on s.classid = d.classid and s.objid = d.objid
  where s.refclassid = 'pg_catalog.pg_namespace'::regclass`;

const holder = (relation: string): string => `
  'name', (select format('%I.%I', nspname, ${relation}.relname) from pg_catalog.pg_namespace where oid = ${relation}.relnamespace),
  'kind', case ${relation}.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
    when 'm' then 'materialized view' else 'foreign table' end,
  'storage', case ${relation}.relpersistence when 'p' then 'permanent' when 'u' then 'unlogged' else 'temporary' end,
  'replicaIdentity', case ${relation}.relreplident when 'd' then 'default' when 'f' then 'full' when 'i' then 'index' else 'nothing' end,
  'identityIndex', (
    select i.relname from pg_catalog.pg_index x join pg_catalog.pg_class i on i.oid = x.indexrelid
    where x.indrelid = ${relation}.oid and x.indisreplident and not x.indisprimary and ${relation}.relreplident = 'i'
  )`;

/** Bits of pg_trigger.tgtype. */
const TRIGGER = { row: 1, before: 2, insert: 4, update: 16 };

const FACTS = `
  select json_build_object(${holder('c')},
    'oid', c.oid::int8,
    'partitionOf', (
      select format('%I.%I', n.nspname, p.relname)
      from pg_catalog.pg_inherits h
      join pg_catalog.pg_class p on p.oid = h.inhparent
      join pg_catalog.pg_namespace n on n.oid = p.relnamespace
      where h.inhrelid = c.oid and c.relispartition
    ),
    'partitions', coalesce((
      select json_agg(json_build_object(${holder('l')}) order by l.relname)
      from pg_catalog.pg_partition_tree(c.oid) tree
      join pg_catalog.pg_class l on l.oid = tree.relid
      where c.relkind = 'p' and tree.isleaf
    ), '[]'::json),
    'children', coalesce((
      select json_agg(format('%I.%I', n.nspname, k.relname) order by k.relname)
      from pg_catalog.pg_inherits h
      join pg_catalog.pg_class k on k.oid = h.inhrelid and not k.relispartition
      join pg_catalog.pg_namespace n on n.oid = k.relnamespace
      where h.inhparent = c.oid
    ), '[]'::json),
    'rowSecurity', pg_catalog.row_security_active(c.oid),
    'deferrableKey', exists (
      select from pg_catalog.pg_index x where x.indrelid = c.oid and x.indisprimary and not x.indimmediate
    ),
    'computedKeyColumns', coalesce((
      select json_agg(a.attname order by a.attnum)
      from pg_catalog.pg_index x
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (x.indkey) and a.attgenerated <> ''
      where x.indrelid = c.oid and x.indisprimary
    ), '[]'::json),
    'publicationExists', exists (select from pg_catalog.pg_publication where pubname = $2),
    'published', (
      select json_build_object(
        'missing', array_remove(array[
          case when not p.pubinsert then 'insert' end, case when not p.pubupdate then 'update' end,
          case when not p.pubdelete then 'delete' end, case when not p.pubtruncate then 'truncate' end
        ], null),
        -- Postgres 14 knows neither, nor their columns.
        'hasRowFilter', to_jsonb(r) ->> 'prqual' is not null,
        'hasColumnList', to_jsonb(r) ->> 'prattrs' is not null,
        'viaRoot', p.pubviaroot
      )
      from pg_catalog.pg_publication p
      left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
      where p.pubname = $2 and (p.puballtables or r.oid is not null or c.relnamespace in (
        select schema from (${schemasIn('p.oid')}) whole
      ))
    ),
    'triggers', coalesce((
      select json_agg(json_build_object(
        'function', format('%s.%s', n.nspname, f.proname),
        'arguments', array_remove(string_to_array(encode(g.tgargs, 'escape'), '\\000'), ''),
        'onInsert', g.tgtype & ${TRIGGER.insert} <> 0,
        'onUpdate', g.tgtype & ${TRIGGER.update} <> 0
      ) order by g.tgname)
      from pg_catalog.pg_trigger g
      join pg_catalog.pg_proc f on f.oid = g.tgfoid
      join pg_catalog.pg_namespace n on n.oid = f.pronamespace
      where g.tgrelid = c.oid and g.tgtype & ${TRIGGER.row + TRIGGER.before} = ${TRIGGER.row + TRIGGER.before}
        and g.tgenabled = 'A' and g.tgqual is null and g.tgattr = ''
    ), '[]'::json)
  )::text as facts
  from pg_catalog.pg_class c
  where c.oid in (select value::text::oid from json_array_elements($1::json))
  order by c.oid`;
