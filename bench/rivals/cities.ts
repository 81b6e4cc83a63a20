import type { Express } from 'express';
import pg from 'pg';

/** Where the rivals' rows come from: the columns that Freshet shows, in the same order. */
export function openCities(): { find(id: string): Promise<Record<string, unknown> | null> } {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 16 });
  return {
    async find(id) {
      const { rows } = await pool.query({
        name: 'city',
        text: 'select id, name, country_code, population, latitude, longitude from cities where id = $1',
        values: [id],
      });
      return rows[0] ?? null;
    },
  };
}

/** Listens on a free port of the loopback address and tells the benchmark which; ends when it is told to. */
export function serve(app: Express): void {
  const server = app.listen(0, '127.0.0.1', () => {
    const address = server.address();
    process.send!({ type: 'ready', port: typeof address === 'object' && address ? address.port : null });
  });
  for (const event of ['SIGTERM', 'disconnect']) process.on(event, () => process.exit(0));
}
