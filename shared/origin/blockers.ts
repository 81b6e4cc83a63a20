import type pg from 'pg';
import type { Blocker } from '../observe.ts';

/**
 * Writing transactions of the whole cluster, oldest first: what a barrier and a new slot have to wait for.
 * `before`: only those with an id up to this one.
 */
export async function findBlockers(
  connection: Pick<pg.Pool | pg.Client, 'query'>,
  before: bigint | null,
): Promise<Blocker[]> {
  const { rows } = await connection.query(
    `select pid, database, age_seconds, query from (
       select a.pid, a.datname as database, extract(epoch from now() - a.xact_start)::int as age_seconds,
              left(a.query, 200) as query, a.backend_xid as xid
       from pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid()
       union all
       select 0, p.database, extract(epoch from now() - p.prepared)::int, 'prepared transaction ' || p.gid, p.transaction
       from pg_prepared_xacts p
     ) held
     where $1::text is null or age(xid) >= age(($1::text)::xid)
     order by age_seconds desc limit 20`,
    [before === null ? null : String(before & 0xffff_ffffn)],
  );
  return (rows as Record<string, string>[]).map(row => ({
    pid: Number(row.pid),
    database: row.database ?? '',
    ageSeconds: Number(row.age_seconds),
    query: row.query ?? '',
  }));
}
