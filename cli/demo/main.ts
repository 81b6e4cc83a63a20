import pg from 'pg';
import { loadDemo } from './load.ts';

/** A process of its own: the whole world is large, and is needed once. DATABASE_URL says where it goes. */
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  const began = performance.now();
  const rows = await loadDemo(client);
  process.stdout.write(`${rows} rows in ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
} finally {
  await client.end();
}
