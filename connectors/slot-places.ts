import type { SourceOffset } from './connect-client.ts';
import type { Query } from './register.ts';

/** The connector's slot, and who reads it. */
export interface ConnectorSlot {
  readonly database: string | null;
  readonly here: string;
  readonly plugin: string | null;
  readonly activePid: number | null;
  /** How the reader calls itself; null where nobody reads, or it may not be seen. */
  readonly reader: string | null;
  readonly confirmedLsn: string | null;
  /** Why it gives nothing any more; null while it does. */
  readonly lostBecause: string | null;
  readonly retainedBytes: number | null;
}

const FACTS = `
  select coalesce((
    select json_build_object(
      'database', s.database, 'here', current_database(), 'plugin', s.plugin, 'activePid', s.active_pid,
      'reader', (select nullif(a.application_name, '') from pg_stat_activity a where a.pid = s.active_pid),
      'confirmedLsn', s.confirmed_flush_lsn::text,
      'lostBecause', case when s.wal_status = 'lost' or to_jsonb(s) ->> 'invalidation_reason' is not null
        then coalesce(to_jsonb(s) ->> 'invalidation_reason', 'wal_status is lost') end,
      'retainedBytes', case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) end
    ) from pg_replication_slots s where s.slot_name = $1
  ), 'null'::json)::text as facts`;

/** Null where there is no slot of that name. */
export async function readConnectorSlot(query: Query, slot: string): Promise<ConnectorSlot | null> {
  const { rows } = await query(FACTS, [slot]);
  return JSON.parse(String(rows[0]?.facts)) as ConnectorSlot | null;
}

/** `16/B374D848` as a number. */
const lsnOf = (text: string): bigint => {
  const [high = '', low = ''] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
};

const lsnText = (lsn: bigint): string =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;

/** Names under which Debezium stores places in the log: of the last event, of the last that is complete, of a commit. */
const PLACES = ['lsn', 'lsn_proc', 'lsn_commit'];

/** How far the connector has come by what Connect has stored of it, as Postgres prints it; null: it stored nothing. */
export function storedUpTo(offsets: readonly SourceOffset[]): string | null {
  const places = offsets.flatMap(({ offset }) =>
    PLACES.map(name => offset?.[name]).filter(place => typeof place === 'number'),
  );
  return places.length === 0 ? null : lsnText(BigInt(Math.max(...places)));
}

/** Whether the slot goes on behind a place that was never published: what lies between is lost. */
export const isAhead = (confirmed: string, stored: string): boolean => lsnOf(confirmed) > lsnOf(stored);
