import { randomBytes } from 'node:crypto';
import pg from 'pg';

export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  query(sql: string, params?: unknown[]): Promise<pg.QueryResult>;
  /** One more connection, closed by `drop()` where the test did not. */
  connect(): Promise<pg.Client>;
  drop(): Promise<void>;
}

const poolSize = 4;
/** A dropped database takes its connections with it (57P01), and that is meant. */
const ignore = (): void => {};

function serverUrl(): string {
  const url = process.env.TEST_POSTGRES_URL;
  if (!url)
    throw new Error('TEST_POSTGRES_URL is not set: run the tests with jest, which starts the servers');
  return url;
}

async function onServer(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', ignore);
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** A fresh, empty database; `server` is the URL of another server than the one the run shares. */
export async function createDatabase(server = serverUrl()): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await onServer(server, `CREATE DATABASE ${name}`);
  const address = new URL(server);
  address.pathname = `/${name}`;
  const url = address.href;
  const pool = new pg.Pool({ connectionString: url, max: poolSize });
  pool.on('error', ignore);
  const clients: pg.Client[] = [];
  return {
    url,
    name,
    query: (sql, params) => pool.query(sql, params),
    async connect() {
      const client = new pg.Client({ connectionString: url });
      client.on('error', ignore);
      await client.connect();
      clients.push(client);
      return client;
    },
    async drop() {
      await Promise.allSettled([pool.end(), ...clients.map(client => client.end())]);
      // A slot outlives the connections that FORCE ends, and would keep WAL for the whole run.
      await onServer(
        server,
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '${name}' AND active`,
        `DO $$ DECLARE slot name; BEGIN
           FOR slot IN SELECT slot_name FROM pg_replication_slots WHERE database = '${name}' LOOP
             FOR attempt IN 1 .. 100 LOOP
               EXIT WHEN NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = slot AND active);
               PERFORM pg_sleep(0.02);
             END LOOP;
             PERFORM pg_drop_replication_slot(slot);
           END LOOP;
         END $$`,
        `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`,
      );
    },
  };
}
