import { describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/database.ts';
import { startPostgres, startRedis } from '../support/servers.ts';

describe('local servers', () => {
  test('a test owns a fresh database of the shared server', async () => {
    const database = await createDatabase();
    try {
      const { rows } = await database.query(
        "SELECT current_database() AS name, current_setting('wal_level') AS wal",
      );
      expect(rows).toEqual([{ name: database.name, wal: 'logical' }]);
    } finally {
      await database.drop();
    }
  });
  test('a killed Postgres comes back on the same address with its data', async () => {
    const server = await startPostgres();
    try {
      const database = await createDatabase(server.url);
      await database.query('CREATE TABLE t AS SELECT 42 AS answer');
      const before = server.pid;
      await server.kill();
      await expect(database.query('SELECT 1')).rejects.toThrow();
      await server.restart();
      expect(server.pid).not.toBe(before);
      expect((await database.query('SELECT answer FROM t')).rows).toEqual([{ answer: 42 }]);
      await database.drop();
    } finally {
      await server.stop();
    }
  });
  test('each Redis is set up for its role', async () => {
    const { Redis } = await import('ioredis');
    for (const [role, policy, aof] of [
      ['cache', 'allkeys-lfu', 'no'],
      ['queue', 'noeviction', 'yes'],
    ] as const) {
      const server = await startRedis(role);
      const redis = new Redis(server.url);
      try {
        expect(await redis.config('GET', 'maxmemory-policy', 'appendonly', 'save')).toEqual(
          expect.arrayContaining(['maxmemory-policy', policy, 'appendonly', aof, 'save', '']),
        );
      } finally {
        redis.disconnect();
        await server.stop();
      }
    }
  });
});
