import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

/** Connections that change cities. A change is acknowledged when the server has said that it is committed. */
export interface Writers {
  /** One row in a transaction of its own, `perSecond` of them, each row once. Resolves with what came of the pace. */
  paced(
    ids: readonly number[],
    perSecond: number,
    onAcknowledged: (id: number, atMs: number) => void,
  ): Promise<{ perSecond: number }>;
  /** All rows as fast as they go, `rowsPerTransaction` in one UPDATE and transaction. */
  bulk(ids: readonly number[], rowsPerTransaction: number): Promise<void>;
  close(): Promise<void>;
}

const CONNECTIONS = 16;
/** Transactions of many rows at once: enough that the next one is ready when one waits for its commit. */
const BULK_CONNECTIONS = 2;

export async function openWriters(databaseUrl: string): Promise<Writers> {
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client({ connectionString: databaseUrl }));
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
          await client.query({ name: 'one city', text: ONE, values: [id] });
          onAcknowledged(id, performance.now());
        }
      };
      await Promise.all(clients.map(write));
      return { perSecond: (ids.length / (performance.now() - startMs)) * 1e3 };
    },
    async bulk(ids, rowsPerTransaction) {
      let next = 0;
      const write = async (client: pg.Client): Promise<void> => {
        while (next < ids.length) {
          const some = ids.slice(next, next + rowsPerTransaction);
          next += rowsPerTransaction;
          await client.query({ name: 'many cities', text: MANY, values: [some] });
        }
      };
      await Promise.all(clients.slice(0, BULK_CONNECTIONS).map(write));
    },
    async close() {
      await Promise.all(clients.map(client => client.end()));
    },
  };
}

const ONE = 'update cities set population = population + 1 where id = $1';
const MANY = 'update cities set population = population + 1 where id = any($1::int[])';
