import type { Query } from '../../resources/introspect.ts';
import { quoteLiteral } from '../quote.ts';
import { unreadableBecause } from '../unreadable-slot.ts';
import { askFacts, type Finding, good, missing, note } from './finding.ts';

interface SlotFacts {
  /** Null: a physical slot. */
  readonly database: string | null;
  readonly here: string;
  readonly plugin: string | null;
  readonly pid: number | null;
  readonly status: string | null;
  readonly reason: string | null;
  /** How much of the log the server keeps for it; null where nothing is kept. */
  readonly retainedBytes: number | null;
  readonly keepSize: string;
}

const FACTS = `
  select coalesce((
    select json_build_object(
      'database', s.database, 'here', current_database(), 'plugin', s.plugin, 'pid', s.active_pid,
      'status', s.wal_status, 'reason', to_jsonb(s) ->> 'invalidation_reason',
      'retainedBytes', case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) end,
      'keepSize', current_setting('max_slot_wal_keep_size')
    ) from pg_replication_slots s where s.slot_name = $1
  ), 'null'::json)::text as facts`;

const FIRST_WITH_FAILOVER = 17;
/** From here on somebody should know how much of the log is kept. */
const MUCH_RETAINED_BYTES = 1024 ** 3;

/** Standbys of 17 and newer keep a failover slot in step. What reads straight from the log begins anew on another server. */
async function createSlotSql(query: Query, slot: string, feed: 'wal' | 'kafka'): Promise<string> {
  const { major } = await askFacts<{ major: number }>(
    query,
    `select json_build_object('major', current_setting('server_version_num')::int / 10000)::text as facts`,
  );
  const failover = feed === 'kafka' && major >= FIRST_WITH_FAILOVER ? ', failover => true' : '';
  return `select pg_create_logical_replication_slot(${quoteLiteral(slot)}, 'pgoutput'${failover})`;
}

/** The slot of the feed. */
export async function examineSlot(query: Query, slot: string, feed: 'wal' | 'kafka'): Promise<Finding[]> {
  const facts = await askFacts<SlotFacts | null>(query, FACTS, [slot]);
  const create = await createSlotSql(query, slot, feed);
  if (facts === null) return [absent(slot, create)];
  if (facts.database !== facts.here || facts.plugin !== 'pgoutput') {
    const whose =
      facts.plugin === 'pgoutput' ? '' : `, plugin ${facts.plugin ?? 'none: it is a physical slot'}`;
    return [
      missing(
        `a slot of its own: ${slot} belongs to database ${facts.database ?? 'none'}${whose} (set FRESHET_NAMESPACE, which names the slot too)`,
        { why: 'Slots belong to the whole server, and each serves one database.' },
      ),
    ];
  }
  if (facts.status === 'lost' || facts.reason !== null) {
    return [
      missing(
        `the replication slot ${slot} can give nothing any more (${facts.reason ?? 'wal_status is lost'})`,
        {
          why: 'More of the log was written while nobody read it than max_slot_wal_keep_size allows to keep, or the server gave it up. A worker that runs makes a new one by itself, and nothing that was cached before is trusted.',
          sql: [`select pg_drop_replication_slot(${quoteLiteral(slot)})`, create],
        },
      ),
    ];
  }
  const state = `slot ${slot}: ${facts.pid === null ? 'nobody reads it now' : `read by process ${facts.pid}`}, ${size(facts.retainedBytes)} of the log kept for it`;
  const stuck = facts.pid === null ? await unreadableBecause(query, slot) : null;
  if (stuck !== null) {
    return [
      missing(`the replication slot ${slot} cannot be read any further: ${stuck}`, {
        why: 'The publication was dropped and made anew, and something was written in between. Up to Postgres 17 the log cannot be read past that place.',
        sql: [`select pg_drop_replication_slot(${quoteLiteral(slot)})`, create],
        mend: 'With Debezium the offsets of its connector go as well: docs/doctor.md.',
      }),
    ];
  }
  if (facts.status === 'unreserved') {
    return [
      note(`${state}, more than may be kept`, {
        why: `It is lost with the next checkpoint, unless it is read further before (max_slot_wal_keep_size = ${facts.keepSize}).`,
      }),
    ];
  }
  if ((facts.retainedBytes ?? 0) > MUCH_RETAINED_BYTES) {
    return [
      note(state, {
        why: `It is lost beyond max_slot_wal_keep_size = ${facts.keepSize}: see that a worker runs, and that it keeps up.`,
      }),
    ];
  }
  return [good(state)];
}

const absent = (slot: string, create: string): Finding =>
  missing(`the replication slot ${slot}`, {
    why: 'The server keeps the log for it. Making one waits for every transaction of the whole server that is writing now.',
    sql: [create],
  });

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'] as const;

function size(bytes: number | null): string {
  let rest = Math.max(0, bytes ?? 0);
  let unit = 0;
  for (; rest >= 1024 && unit < UNITS.length - 1; unit += 1) rest /= 1024;
  return `${unit === 0 ? rest : rest.toFixed(1)} ${UNITS[unit]}`;
}
