import pg from 'pg';
import { AS_TEXT, PRINTING, startupOptions } from './pool.ts';

const CONNECT_TIMEOUT_MS = 3_000;
const QUERY_TIMEOUT_MS = 5_000;

/** One connection of its own, outside any pool. The caller ends it, and listens for its errors. */
export async function openSession(
  url: string,
  name: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: `freshet ${name}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    types: AS_TEXT,
    options: startupOptions({ ...PRINTING, ...settings }),
  });
  await client.connect();
  return client;
}
