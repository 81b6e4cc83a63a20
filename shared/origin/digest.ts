import { schemasIn } from '../resources/table-facts.ts';

/**
 * The digest of a table's definition and publication: one text for all that shapes what a row looks like or
 * whether its changes are announced, each catalog row with its xmin, so that a drop and re-add between two looks
 * shows too. No row event tells of such a change. VACUUM and ANALYZE do not move it.
 *
 * Read under the statement's own snapshot: names are joined, never cast to regclass, which would look at "now".
 * Children count with their storage and identity (a partition can be attached, detached or truncated by itself).
 */

const FIRST_USER_OID = 16384;

/**
 * Planner settings of the connections that ask for digests. Without statistics the planner reads whole catalogs
 * for the few rows wanted, and plans anew each time: 2 to 4 ms instead of 0.4.
 */
export const DIGEST_PLANNER = {
  jit: 'off',
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
} as const;

/**
 * Scalar SQL expression: JSON object (text) from qualified name to digest, null where there are none.
 * Takes $1 qualified names, $2 schemas, $3 relation names, all text[]; a table that is not there is missing.
 */
export const TABLE_DIGESTS = `(
  with recursive
  root as materialized (
    select w.q, c.oid, c.relnamespace
    from unnest($1::text[], $2::text[], $3::text[]) as w(q, schema, rel)
    join pg_namespace n on n.nspname = w.schema::name
    join pg_class c on c.relnamespace = n.oid and c.relname = w.rel::name and c.relkind in ('r', 'p')
  ),
  rels(q, oid) as (
    select q, oid from root
    union
    select r.q, i.inhrelid from rels r join pg_inherits i on i.inhparent = r.oid
  ),
  types(q, oid) as (
    select q, a.atttypid from root, pg_attribute a
    where a.attrelid = root.oid and a.attnum > 0 and a.atttypid >= ${FIRST_USER_OID}
    union
    select t.q, part.oid from types t join pg_type y on y.oid = t.oid
    cross join lateral unnest(
      array[y.typelem, y.typbasetype]
        || array(select atttypid from pg_attribute where attrelid = y.typrelid and attnum > 0)
        || array(select rngsubtype from pg_range where rngtypid = y.oid)
        || array(select rngtypid from pg_range where rngmultitypid = y.oid)
    ) as part(oid)
    where part.oid >= ${FIRST_USER_OID}
  ),
  pub as materialized (select oid, xmin from pg_publication where pubname = 'freshet')
  select json_object_agg(q, digest)::text from (
    select q, md5(string_agg(fact, ' ' order by fact)) as digest from (
      select q, concat_ws('.', 'c', c.oid, c.xmin, c.relfilenode, c.relreplident, c.relpersistence, c.relrowsecurity) as fact
        from rels join pg_class c using (oid)
      union all
      select q, concat_ws('.', 'a', a.attnum, a.xmin) from root join pg_attribute a on a.attrelid = root.oid and a.attnum > 0
      union all
      select q, concat_ws('.', 'd', d.adnum, d.xmin) from root join pg_attrdef d on d.adrelid = root.oid
      union all
      select q, concat_ws('.', 'i', i.indexrelid, i.xmin, i.indisprimary, i.indisreplident, i.indkey)
        from rels join pg_index i on rels.oid = i.indrelid where i.indisprimary or i.indisreplident
      union all
      select q, concat_ws('.', 'h', i.inhrelid, i.inhparent, i.xmin, i.inhdetachpending)
        from rels join pg_inherits i on rels.oid = i.inhparent
      union all
      select q, concat_ws('.', 't', y.oid, y.xmin) from types join pg_type y using (oid)
      union all
      select q, concat_ws('.', 'ta', a.attrelid, a.attnum, a.xmin)
        from types join pg_type y using (oid) join pg_attribute a on a.attrelid = y.typrelid and a.attnum > 0
      union all
      select q, concat_ws('.', 'e', e.oid, e.xmin) from types join pg_enum e on types.oid = e.enumtypid
      union all
      select q, concat_ws('.', 'p', pub.oid, pub.xmin) from root, pub
      union all
      select q, concat_ws('.', 'pr', pr.oid, pr.xmin)
        from rels join pg_publication_rel pr on rels.oid = pr.prrelid join pub on pub.oid = pr.prpubid
      union all
      select q, concat_ws('.', 'pn', pn.entry, pn.xmin)
        from pub cross join lateral (${schemasIn('pub.oid')}) pn join root on root.relnamespace = pn.schema
    ) facts group by q
  ) digests
)`;
