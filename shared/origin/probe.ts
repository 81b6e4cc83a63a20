import type pg from 'pg';
import { parseSnapshot, type Snapshot, sees } from '../protocol/snapshot.ts';
import { widen } from '../protocol/xid.ts';
import type { TableShape } from '../resources/resource.ts';
import { TABLE_DIGESTS } from './digest.ts';
import { originError } from './pool.ts';

/** P of the protocol: what the primary says between receiving a batch and applying it. */
export interface Probe {
  readonly snapshot: Snapshot;
  /** Null when the marker table is empty: the database went through crash recovery, promotion or restore. */
  readonly incarnation: string | null;
  /** Qualified name → digest of definition and publication; a table that is not there is missing. */
  readonly digests: ReadonlyMap<string, string>;
}

type Queryable = Pick<pg.Pool | pg.Client, 'query'>;
type NamedTable = Pick<TableShape, 'schema' | 'name' | 'qualified'>;

const PROBE_TIMEOUT_MS = 10_000;

const STATEMENT = `
  select pg_current_snapshot()::text as snapshot,
         (select incarnation::text from freshet.alive) as incarnation,
         ${TABLE_DIGESTS} as digests`;

export const parseDigests = (json: string | null): Map<string, string> =>
  new Map(Object.entries(JSON.parse(json ?? '{}') as Record<string, string>));

/** Parameters $1 to $3 of `TABLE_DIGESTS`. */
export const digestParameters = (tables: readonly NamedTable[]): [string[], string[], string[]] => [
  tables.map(t => t.qualified),
  tables.map(t => t.schema),
  tables.map(t => t.name),
];

/** Takes P in one statement. Needs a connection to the primary. @throws FreshetError (retryable when passing). */
export async function probe(connection: Queryable, tables: readonly NamedTable[]): Promise<Probe> {
  try {
    const { rows } = await connection.query({
      name: 'freshet probe',
      text: STATEMENT,
      values: digestParameters(tables),
      // Known to the client, absent from its types.
      ...{ query_timeout: PROBE_TIMEOUT_MS },
    });
    const row = rows[0] as { snapshot: string; incarnation: string | null; digests: string | null };
    return {
      snapshot: parseSnapshot(row.snapshot),
      incarnation: row.incarnation,
      digests: parseDigests(row.digests),
    };
  } catch (error) {
    throw originError('the database could not be probed', error);
  }
}

/**
 * Whether some transaction that a fresh snapshot already sees still holds its lock. Between becoming visible and
 * releasing it, a transaction that altered a definition has not told the other sessions yet: they may go on
 * with a plan of the old definition under a snapshot of the new one.
 */
export async function isCommitUnderWay(connection: Queryable): Promise<boolean> {
  try {
    const { rows } = await connection.query(`
      select pg_current_snapshot()::text as snapshot, l.virtualtransaction as holder, l.transactionid::text as xid
      from (select 1) one
      left join pg_locks l on l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'`);
    const held = rows as { snapshot: string; holder: string | null; xid: string | null }[];
    const snapshot = parseSnapshot(held[0]!.snapshot);
    // A subtransaction's id is higher than its top transaction's, and no snapshot knows of it by itself.
    const tops = new Map<string, bigint>();
    for (const { holder, xid } of held) {
      if (holder === null || xid === null) continue;
      const wide = widen(Number(xid), snapshot.xmax);
      const known = tops.get(holder);
      if (known === undefined || wide < known) tops.set(holder, wide);
    }
    return [...tops.values()].some(xid => sees(snapshot, xid));
  } catch (error) {
    throw originError('the locks of the database could not be read', error);
  }
}

/** `xid` of a fresh transaction and the way to wait until nothing older runs: the barrier that closes a gap. */
export async function barrierXid(connection: Queryable): Promise<bigint> {
  try {
    const { rows } = await connection.query('select pg_current_xact_id()::text as xid');
    return BigInt((rows[0] as { xid: string }).xid);
  } catch (error) {
    throw originError('a transaction id could not be had', error);
  }
}
