import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

/** A table that is written to: one of its columns is a number that every change makes larger by one. */
export interface Target {
  readonly table: string;
  readonly column: string;
}

export const cities: Target = { table: 'cities', column: 'population' };

/** Connections that change rows of one table. A change is acknowledged when the server has said that it is committed. */
export interface Writers {
  /** One row in a transaction of its own, `perSecond` of them, each row once. Resolves with what came of the pace. */
  paced(
    ids: readonly number[],
    perSecond: number,
    onAcknowledged: (id: number, atMs: number) => void,
  ): Promise<{ perSecond: number }>;
  /**
   * All rows as fast as they go, `rowsPerTransaction` in one UPDATE and transaction. Resolves with when the first and
   * the last transaction were acknowledged.
   */
  bulk(ids: readonly number[], rowsPerTransaction: number): Promise<Written>;
  close(): Promise<void>;
}

export interface Written {
  readonly firstMs: number;
  readonly lastMs: number;
}

const CONNECTIONS = 16;
/** Transactions of many rows at once: enough that the next one is ready when one waits for its commit. */
const BULK_CONNECTIONS = 2;

export async function openWriters(databaseUrl: string, { table, column }: Target = cities): Promise<Writers> {
  const change = `update ${table} set ${column} = ${column} + 1`;
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client({ connectionString: databaseUrl }));
  // What it means for a statement, the statement's own error says.
  for (const client of clients) client.on('error', () => {});
  await Promise.all(clients.map(client => client.connect()));

  return {
    async paced(ids, perSecond, onAcknowledged) {
      const startMs = performance.now();
      let next = 0;
      const write = async (client: pg.Client): Promise<void> => {
        for (let place = next++; place < ids.length; place = next++) {
          const dueMs = startMs + (place / perSecond) * 1e3;
          const earlyMs = dueMs - performance.now();
          if (earlyMs > 0) await delay(earlyMs);
          const id = ids[place]!;
          await client.query({ name: 'one', text: `${change} where id = $1`, values: [id] });
          onAcknowledged(id, performance.now());
        }
      };
      await Promise.all(clients.map(write));
      return { perSecond: (ids.length / (performance.now() - startMs)) * 1e3 };
    },
    async bulk(ids, rowsPerTransaction) {
      let next = 0;
      let firstMs = Number.POSITIVE_INFINITY;
      const write = async (client: pg.Client): Promise<void> => {
        while (next < ids.length) {
          const some = ids.slice(next, next + rowsPerTransaction);
          next += rowsPerTransaction;
          await client.query({ name: 'many', text: `${change} where id = any($1::int[])`, values: [some] });
          firstMs = Math.min(firstMs, performance.now());
        }
      };
      await Promise.all(clients.slice(0, BULK_CONNECTIONS).map(write));
      return { firstMs, lastMs: performance.now() };
    },
    async close() {
      await Promise.all(clients.map(client => client.end()));
    },
  };
}
