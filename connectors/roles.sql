-- One role for each part of Freshet, and for each only what it needs. Run it in the database that is served, as a
-- role that may create roles and owns (or may grant on) the tables:
--
--   psql -v ON_ERROR_STOP=1 -f connectors/roles.sql "postgres://admin@host/database"
--
-- or let `freshet init --roles` print it together with the rights on the tables of your configuration. It can be run
-- again. Nobody can log in by password before one is set:
--
--   \password freshet_api
--
-- `freshet doctor --as api|worker|connect`, with the role's own URL, says what it still lacks.

do $$ begin
  if not exists (select from pg_roles where rolname = 'freshet_api') then create role freshet_api login; end if;
  if not exists (select from pg_roles where rolname = 'freshet_worker') then create role freshet_worker login; end if;
  if not exists (select from pg_roles where rolname = 'freshet_connect') then create role freshet_connect login; end if;
end $$;

-- What Freshet keeps in the database; `freshet init` makes the same.

create schema if not exists freshet;

create unlogged table if not exists freshet.alive (
  one boolean primary key default true check (one),
  incarnation uuid not null
);
insert into freshet.alive (incarnation) values (gen_random_uuid()) on conflict do nothing;

create table if not exists freshet.dead_letter (
  id bigint generated always as identity primary key,
  parked_at timestamptz not null default now(),
  feed text not null,
  place text not null,
  cause text not null,
  raw bytea not null
);

create sequence if not exists freshet.version;
create or replace function freshet.bump_version() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  return jsonb_populate_record(new, jsonb_build_object(tg_argv[0], nextval('freshet.version')));
end $$;

-- The database itself. By default everybody may connect; where that was taken back, these three still may.

do $$ begin
  execute format('grant connect on database %I to freshet_api, freshet_worker, freshet_connect', current_database());
end $$;

-- The API reads rows together with the marker that tells one life of the database from the next. It has no
-- part in the log.

grant usage on schema freshet to freshet_api, freshet_worker;
grant select on freshet.alive to freshet_api, freshet_worker;

-- The worker puts the marker back after a crash recovery, and keeps what it could not read.

grant insert on freshet.alive to freshet_worker;
grant insert on freshet.dead_letter to freshet_worker;

-- REPLICATION is more than it sounds: through a slot such a role can read every table of the database, whatever else
-- it was granted, and it can drop any slot of the server. The worker needs it to follow the log itself
-- (FRESHET_FEED=wal). Over Kafka it needs it only to make a slot anew that was lost: without it, people do that.

alter role freshet_worker replication;

-- To name those whose transactions it waits for. Shows the running statements of everybody; without it the waiting
-- works the same and `freshet status` just cannot say for whom.

grant pg_read_all_stats to freshet_worker;

-- Kafka Connect follows the log and does nothing else: it takes no snapshot, so it reads no table and needs no right
-- on any.

alter role freshet_connect replication;

-- Reading and writing the tables that are served, for the API (requests) and the worker (rewarming): `freshet init
-- --roles` prints the grants of your configuration, without the columns that it leaves out. By hand:
--
--   grant usage on schema public to freshet_api, freshet_worker;
--   grant select on public.users to freshet_api, freshet_worker;
--   grant insert, update, delete on public.users to freshet_api;
--   alter default privileges in schema public grant select on tables to freshet_api, freshet_worker;  -- of every table to come
--
-- Row-level security: rows that only some may see cannot be cached for all. Where the policies of a served table
-- would apply to these roles, take them out of the policies, or (every row is then served):
--
--   alter role freshet_api bypassrls; alter role freshet_worker bypassrls;
