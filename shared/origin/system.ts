import { createHash } from 'node:crypto';
import type pg from 'pg';

/** Which database this is: survives restarts, differs after a restore elsewhere or a promotion. */
export interface DatabaseSystem {
  readonly id: string;
  readonly timeline: number;
  readonly database: string;
  /** End of the write-ahead log when it was asked. */
  readonly writtenUpTo: string;
}

/** Asks the primary; a standby refuses. Needs no rights of its own. */
export async function identifySystem(client: Pick<pg.Pool | pg.Client, 'query'>): Promise<DatabaseSystem> {
  const { rows } = await client.query(
    `select (select system_identifier::text from pg_control_system()) as id,
            pg_walfile_name(pg_current_wal_insert_lsn()) as wal_file, current_database() as database,
            pg_current_wal_insert_lsn()::text as written_up_to`,
  );
  const row = rows[0] as { id: string; wal_file: string; database: string; written_up_to: string };
  return {
    id: row.id,
    timeline: Number.parseInt(row.wal_file.slice(0, 8), 16),
    database: row.database,
    writtenUpTo: row.written_up_to,
  };
}

/** `freshet:<short id>` of a database, or the name that was set. */
export function namespaceOf(system: Pick<DatabaseSystem, 'id' | 'database'>, set: string | null): string {
  const short = (): string =>
    createHash('sha256').update(`${system.id}/${system.database}`).digest('hex').slice(0, 10);
  return `freshet:${set ?? short()}`;
}

/** Slots belong to the whole cluster: a namespace of its own has a slot of its own. */
export const slotOf = (set: string | null): string =>
  set === null
    ? 'freshet_wal'
    : `freshet_wal_${set.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_')}`.slice(0, 63);
