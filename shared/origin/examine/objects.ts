import type { Query } from '../../resources/introspect.ts';
import { BUMP_VERSION_SQL } from '../../resources/version-trigger.ts';
import { askFacts, type Finding, good, missing } from './finding.ts';

const SCHEMA = 'create schema if not exists freshet';
const ALIVE = `create unlogged table if not exists freshet.alive (
  one boolean primary key default true check (one),
  incarnation uuid not null
)`;
export const MARK_ALIVE =
  'insert into freshet.alive (incarnation) values (gen_random_uuid()) on conflict do nothing';
const DEAD_LETTER = `create table if not exists freshet.dead_letter (
  id bigint generated always as identity primary key,
  parked_at timestamptz not null default now(),
  feed text not null,
  place text not null,
  cause text not null,
  raw bytea not null
)`;
/** Until 0.1 the place was always an LSN; a feed over Kafka has others. */
const DEAD_LETTER_WITH_PLACE = [
  'alter table freshet.dead_letter alter column lsn type text using lsn::text',
  'alter table freshet.dead_letter rename column lsn to place',
];

interface ObjectFacts {
  readonly schema: boolean;
  /** pg_class.relpersistence; null: there is none. */
  readonly alive: string | null;
  /** Names of its columns; null: there is none. */
  readonly deadLetter: readonly string[] | null;
  readonly bumpVersion: boolean;
}

// By joins, not by to_regclass: that is an error for a role that may not use the schema.
const FACTS = `
  select json_build_object(
    'schema', exists (select from pg_namespace where nspname = 'freshet'),
    'alive', (
      select c.relpersistence from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'freshet' and c.relname = 'alive'
    ),
    'deadLetter', (
      select json_agg(a.attname) from pg_attribute a
      join pg_class c on c.oid = a.attrelid
      join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'freshet' and c.relname = 'dead_letter' and a.attnum > 0 and not a.attisdropped
    ),
    'bumpVersion', exists (
      select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'freshet' and p.proname = 'bump_version' and p.pronargs = 0
    )
  )::text as facts`;

/** What Freshet keeps in the database itself, all of it in schema `freshet`. */
export async function examineObjects(query: Query): Promise<Finding[]> {
  const facts = await askFacts<ObjectFacts>(query, FACTS);
  const found: Finding[] = [];
  if (!facts.schema) found.push(missing('the schema freshet', { sql: [SCHEMA] }));
  if (facts.alive === null) {
    found.push(
      missing('the marker table freshet.alive', {
        why: 'It is emptied by crash recovery, promotion and restore, and so tells that the log may have been cut.',
        sql: [ALIVE, MARK_ALIVE],
      }),
    );
  } else if (facts.alive !== 'u') {
    found.push(
      missing('the table freshet.alive as an unlogged one', {
        why: 'A logged one survives crash recovery, promotion and restore, which it is there to tell of.',
        sql: ['alter table freshet.alive set unlogged'],
      }),
    );
  }
  if (facts.deadLetter === null) {
    found.push(
      missing('the table freshet.dead_letter', {
        why: 'A change that cannot be read is kept there, before the feed goes on.',
        sql: [DEAD_LETTER],
      }),
    );
  } else if (!facts.deadLetter.includes('place')) {
    found.push(
      missing('the column place of freshet.dead_letter', {
        why: 'The table is of an earlier version, and no dead letter could be kept in it.',
        sql: DEAD_LETTER_WITH_PLACE,
      }),
    );
  }
  if (!facts.bumpVersion) {
    found.push(
      missing('the trigger function freshet.bump_version()', {
        why: "Resources with etag: 'version' rest on it.",
        sql: BUMP_VERSION_SQL.split(/;\n(?=create)/),
      }),
    );
  }
  return found.length === 0 ? [good('schema freshet with all that belongs there')] : found;
}
