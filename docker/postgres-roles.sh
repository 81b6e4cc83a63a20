#!/usr/bin/env bash
# Run once by the Postgres image, as superuser over the socket, when it has made a new cluster: a role for each part of
# Freshet, with its password out of a secret, and what a database of our own has besides (one of somebody else's is
# prepared by `freshet init`).
set -euo pipefail

sql=(psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB")

"${sql[@]}" --file /freshet/roles.sql

# psql reads the secrets itself: a password on a command line is seen by everybody.
cd /run/secrets
"${sql[@]}" <<'SQL'
\set api `cat api_database_password`
\set worker `cat worker_database_password`
\set connect `cat debezium_database_password`
alter role freshet_api password :'api';
alter role freshet_worker password :'worker';
alter role freshet_connect password :'connect';

create publication freshet for all tables with (publish_via_partition_root = true);

-- Of every table that this superuser will make.
grant usage on schema public to freshet_api, freshet_worker;
alter default privileges in schema public grant select on tables to freshet_api, freshet_worker;
alter default privileges in schema public grant insert, update, delete on tables to freshet_api;
alter default privileges in schema public grant usage on sequences to freshet_api;
SQL
