import { eventually } from './eventually.ts';
import type { RawTopic } from './raw-topic.ts';
import type { World } from './world.ts';

/** A worker in the middle of a round: it has asked the primary, and waits for a lock that we have. */
export interface HeldRound {
  release(): Promise<void>;
}

/**
 * Holds up whoever follows `partition`, for as long as the test wants: an event that cannot be read has to be written
 * down before anything goes on, and the table it is written to is locked. It costs `table` a new generation.
 */
export async function holdRound(
  world: World,
  topic: RawTopic,
  partition: number,
  table: string,
): Promise<HeldRound> {
  const client = await world.database.connect();
  const { rows } = await client.query('select pg_current_xact_id()::text as xid');
  const [{ xid }] = rows as [{ xid: string }];
  // Takes no transaction id: no barrier waits for it.
  await client.query('begin');
  await client.query('lock table freshet.dead_letter in exclusive mode');
  await topic.produce(partition, { value: changeWithoutKey(world, table, Number(BigInt(xid) % 2n ** 32n)) });
  await eventually(
    'a worker waits for the lock',
    () =>
      world.database.query(
        `select count(*)::int as count from pg_locks where not granted and relation = 'freshet.dead_letter'::regclass
           and database = (select oid from pg_database where datname = current_database())`,
      ),
    ({ rows: [row] }) => (row as { count: number }).count === 1,
  );
  return {
    async release() {
      await client.query('rollback');
      await client.end();
    },
  };
}

/** Says whose change it is and of which table, but not of which row. */
const changeWithoutKey = (world: World, table: string, txId: number): string =>
  JSON.stringify({
    op: 'u',
    before: null,
    after: {},
    source: {
      connector: 'postgresql',
      name: world.kafka!.names.topicPrefix,
      schema: 'public',
      table,
      txId,
      lsn: 1,
      ts_ms: 1,
    },
  });
