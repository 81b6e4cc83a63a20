import type pg from 'pg';
import { FreshetError } from '../../shared/errors.ts';

type Queryable = Pick<pg.Pool | pg.Client, 'query'>;

/** A replication slot as `pg_replication_slots` shows it. */
export interface SlotState {
  readonly activePid: number | null;
  /** Null while the slot was never streamed from. */
  readonly confirmedLsn: string | null;
  /** Why it can give nothing any more; null while it can. */
  readonly lostBecause: string | null;
  /** `reserved`, `extended`, `unreserved` (about to be lost) or `lost`. */
  readonly walStatus: string;
  /** Log that the server keeps for it. */
  readonly retainedBytes: number;
}

/** Null when there is no slot of that name. @throws FreshetError when it belongs to another database or plugin. */
export async function readSlot(client: Queryable, slot: string): Promise<SlotState | null> {
  const { rows } = await client.query(
    `select s.active_pid, s.confirmed_flush_lsn::text as confirmed, s.wal_status, s.plugin, s.database,
            current_database() as here, to_jsonb(s) ->> 'invalidation_reason' as reason,
            coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::text as retained
     from pg_replication_slots s where slot_name = $1`,
    [slot],
  );
  const row = rows[0] as Record<string, string | null> | undefined;
  if (!row) return null;
  if (row.plugin !== 'pgoutput' || row.database !== row.here) {
    throw new FreshetError({
      code: 'foreign-slot',
      message: `replication slot ${slot} belongs to database ${row.database}, plugin ${row.plugin}; expected ${row.here}, pgoutput`,
      hint: 'Set FRESHET_NAMESPACE: a namespace of its own has a slot of its own.',
    });
  }
  const lost = row.wal_status === 'lost' || row.reason !== null;
  return {
    activePid: row.active_pid === null ? null : Number(row.active_pid),
    confirmedLsn: row.confirmed ?? null,
    lostBecause: lost ? (row.reason ?? 'wal_status is lost') : null,
    walStatus: row.wal_status ?? 'unknown',
    retainedBytes: Number(row.retained),
  };
}

/** From this version on a slot may be carried over to standbys. */
const FAILOVER_SINCE = 170_000;

/**
 * Waits for every writing transaction of the cluster that is running now. `failover`: standbys that synchronise slots
 * get it too, where the server knows how.
 */
export async function createSlot(client: Queryable, slot: string, { failover = false } = {}): Promise<void> {
  const { rows } = await client.query("select current_setting('server_version_num')::int as version");
  const isCarried = failover && Number((rows[0] as { version: string }).version) >= FAILOVER_SINCE;
  const more = isCarried ? ', failover => true' : '';
  await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput'${more})`, [slot]);
}

export async function dropSlot(client: Queryable, slot: string): Promise<void> {
  await client.query('select pg_drop_replication_slot($1)', [slot]);
}
