import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { withoutPassword } from '../../shared/config.ts';
import { describe, FreshetError } from '../../shared/errors.ts';
import { quoteLiteral } from '../../shared/origin/quote.ts';

const run = promisify(execFile);
const connectLimitMs = 5_000;
const demoLoader = fileURLToPath(new URL('../demo/main.ts', import.meta.url));

/** The database that is served when none is named. */
const name = 'freshet';

/** One connection for the time of `work`. Throws `database-unreachable` with an address that shows no password. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: connectLimitMs });
  client.on('error', () => {}); // What it means for a statement, the statement's own error says.
  try {
    await client.connect();
  } catch (cause) {
    throw new FreshetError({
      code: 'database-unreachable',
      message: `The database ${withoutPassword(url)} cannot be reached: ${describe(cause)}`,
      hint: 'Check DATABASE_URL, and that Postgres takes connections there.',
      cause,
    });
  }
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export const inDatabase = (serverUrl: string, database: string): string => {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
};

/**
 * The served database of a local server, made with the demo's data where it is missing. It is filled under another
 * name first: a start that was cut short leaves no database that looks complete.
 */
export async function prepareDatabase(serverUrl: string, say: (line: string) => void): Promise<string> {
  const half = `${name}_new`;
  await withClient(serverUrl, async client => {
    const { rowCount } = await client.query(`SELECT FROM pg_database WHERE datname = ${quoteLiteral(name)}`);
    if (rowCount) return;
    say('loading the demo data: the countries and cities of the world');
    await client.query(`DROP DATABASE IF EXISTS ${half}`);
    await client.query(`CREATE DATABASE ${half}`);
    const { stdout } = await run(process.execPath, [demoLoader], {
      env: { ...process.env, DATABASE_URL: inDatabase(serverUrl, half) },
    });
    await client.query(`ALTER DATABASE ${half} RENAME TO ${name}`);
    say(`loaded ${stdout.trim()}`);
  });
  return inDatabase(serverUrl, name);
}
