import { createHash } from 'node:crypto';
import type pg from 'pg';
import { FreshetError } from '../errors.ts';
import { BUMP_VERSION_SQL } from '../resources/version-trigger.ts';
import { quoteLiteral } from './quote.ts';

type Queryable = Pick<pg.Pool | pg.Client, 'query'>;

/** Something the database lacks, and the statement that mends it; null where a statement cannot (a restart can). */
export interface Lack {
  readonly what: string;
  readonly sql: string | null;
}

export interface AdoptOptions {
  /** Run the statements. Otherwise a lack is an error that prints them: a foreign database is never changed unasked. */
  readonly apply: boolean;
  /** Slot of the feed; asked for only where nothing is applied, because the worker makes its own elsewhere. */
  readonly slot: string;
}

const SCHEMA = 'create schema if not exists freshet';
const ALIVE = `create unlogged table if not exists freshet.alive (
  one boolean primary key default true check (one),
  incarnation uuid not null
)`;
const MARK = 'insert into freshet.alive (incarnation) values (gen_random_uuid()) on conflict do nothing';
const DEAD_LETTER = `create table if not exists freshet.dead_letter (
  id bigint generated always as identity primary key,
  parked_at timestamptz not null default now(),
  feed text not null,
  lsn pg_lsn not null,
  cause text not null,
  raw bytea not null
)`;
const PUBLICATION = 'create publication freshet for all tables with (publish_via_partition_root = true)';

/** What is missing for Freshet to follow this database; empty when it is ready. */
export async function findLacks(client: Queryable, slot: string | null): Promise<Lack[]> {
  const { rows } = await client.query(
    `select current_setting('wal_level') as wal_level,
            current_setting('max_slot_wal_keep_size') as keep_size,
            current_setting('server_version_num')::int as version,
            to_regclass('freshet.alive') is not null as alive,
            to_regclass('freshet.dead_letter') is not null as dead_letter,
            to_regprocedure('freshet.bump_version()') is not null as bump_version,
            exists (select from pg_publication where pubname = 'freshet') as publication,
            $1::text is null or exists (select from pg_replication_slots where slot_name = $1) as slot,
            (select database from pg_replication_slots where slot_name = $1 and database <> current_database()) as slot_of`,
    [slot],
  );
  const found = rows[0] as Record<string, unknown>;
  // Pools print booleans as `t`, plain clients parse them.
  const has = (name: string): boolean => found[name] === true || found[name] === 't';
  const lacks: Lack[] = [];
  if (Number(found.version) < 150_000) {
    lacks.push({
      what: `Postgres 15 or newer is needed, this is ${Math.trunc(Number(found.version) / 10_000)}`,
      sql: null,
    });
  }
  if (found.wal_level !== 'logical') {
    lacks.push({
      what: `wal_level is ${found.wal_level}, logical is needed (takes a restart of Postgres)`,
      sql: "alter system set wal_level = 'logical'",
    });
  }
  if (found.keep_size === '-1') {
    lacks.push({
      what: 'max_slot_wal_keep_size is unlimited: an abandoned slot would fill the disk and stop Postgres for good',
      sql: "alter system set max_slot_wal_keep_size = '10GB'; select pg_reload_conf()",
    });
  }
  if (!has('alive'))
    lacks.push({ what: 'the marker table freshet.alive', sql: `${SCHEMA}; ${ALIVE}; ${MARK}` });
  if (!has('dead_letter'))
    lacks.push({ what: 'the table freshet.dead_letter', sql: `${SCHEMA}; ${DEAD_LETTER}` });
  if (!has('bump_version')) {
    lacks.push({
      what: 'the trigger function freshet.bump_version()',
      sql: `${SCHEMA}; ${BUMP_VERSION_SQL}`,
    });
  }
  if (!has('publication')) lacks.push({ what: 'the publication freshet', sql: PUBLICATION });
  if (found.slot_of !== null) {
    lacks.push({
      what: `a slot of its own: ${slot} belongs to database ${found.slot_of} (set FRESHET_NAMESPACE, which names the slot too)`,
      sql: null,
    });
  }
  if (!has('slot')) {
    lacks.push({
      what: `the replication slot ${slot}`,
      sql: `select pg_create_logical_replication_slot(${quoteLiteral(slot!)}, 'pgoutput')`,
    });
  }
  return lacks;
}

/**
 * Makes a database one that Freshet can follow, or says what is missing.
 * @throws FreshetError `database-not-prepared` with the SQL.
 */
export async function adoptDatabase(client: Queryable, options: AdoptOptions): Promise<void> {
  let lacks = await findLacks(client, options.apply ? null : options.slot);
  if (options.apply) {
    for (const lack of lacks)
      if (lack.sql !== null && !lack.sql.startsWith('alter system')) await client.query(lack.sql);
    lacks = await findLacks(client, null);
  }
  if (lacks.length === 0) return;
  throw new FreshetError({
    code: 'database-not-prepared',
    message: `this database cannot be followed yet; it lacks:\n${lacks.map(lack => `  - ${lack.what}`).join('\n')}`,
    hint: `Run, as a role that may:\n${lacks.flatMap(lack => (lack.sql === null ? [] : [`    ${lack.sql};`])).join('\n')}`,
  });
}

/** Which database this is: survives restarts, differs after a restore elsewhere or a promotion. */
export interface DatabaseSystem {
  readonly id: string;
  readonly timeline: number;
  readonly database: string;
  /** End of the write-ahead log when it was asked. */
  readonly writtenUpTo: string;
}

export async function identifySystem(client: Queryable): Promise<DatabaseSystem> {
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

/** Writes a new incarnation where none is (a new database, or one that went through recovery); returns the one that stands. */
export async function markIncarnation(client: Queryable): Promise<string> {
  await client.query(MARK);
  const { rows } = await client.query('select incarnation::text from freshet.alive');
  return (rows[0] as { incarnation: string }).incarnation;
}
