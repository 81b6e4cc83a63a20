import { withClient } from '../cli/local/database.ts';
import { ConnectClient } from '../connectors/connect-client.ts';
import { KafkaAdmin } from '../connectors/kafka-client.ts';
import { type KafkaNames, kafkaNames } from '../connectors/names.ts';
import { registerConnector } from '../connectors/register.ts';
import { slotOf } from '../shared/origin/system.ts';
import type { Chain } from './chain.ts';
import type { Stores } from './stores.ts';
import { until } from './until.ts';

/** A way for changes to come, set up for one turn of one contender under a name of its own. */
export interface Followed {
  /** FRESHET_NAMESPACE. */
  readonly namespace: string;
  /** What makes a worker follow it. */
  readonly env: NodeJS.ProcessEnv;
  /** Null for the feed that needs none. */
  readonly kafka: KafkaSide | null;
  /** Nothing of it is left behind: a slot that nobody follows would keep log. */
  takeAway(): Promise<void>;
}

export interface KafkaSide {
  readonly names: KafkaNames;
  readonly brokers: string;
  readonly admin: KafkaAdmin;
  readonly pids: Chain['pids'];
}

const STOPPED_WITHIN_MS = 30_000;

export function followByWal(stores: Stores, namespace: string): Followed {
  return {
    namespace,
    env: { FRESHET_FEED: 'wal', FRESHET_NAMESPACE: namespace },
    kafka: null,
    takeAway: () => dropSlot(stores, slotOf(namespace)),
  };
}

/** Returns when the connector's task runs. `settings`: of the connector, instead of what it is shipped with. */
export async function followByKafka(
  stores: Stores,
  { brokers, connectUrl, pids }: Chain,
  namespace: string,
  settings: Readonly<Record<string, string>>,
): Promise<Followed> {
  const names = kafkaNames(namespace);
  const connect = new ConnectClient({ url: connectUrl });
  const admin = await KafkaAdmin.open({ brokers: brokers.split(','), clientId: 'bench' });
  const takeAway = async (): Promise<void> => {
    if ((await connect.state(names.connector)) !== null) {
      await connect.stop(names.connector);
      await until(
        `connector ${names.connector} is stopped`,
        async () => (await connect.state(names.connector))?.task === null,
        STOPPED_WITHIN_MS,
      );
      await connect.deleteOffsets(names.connector);
      await connect.remove(names.connector);
    }
    for (const topic of [names.topic, names.heartbeatTopic]) await admin.deleteTopic(topic);
    await admin.close();
    await dropSlot(stores, names.slot);
  };
  await withClient(stores.databaseUrl, client =>
    registerConnector({
      connectUrl,
      databaseUrl: stores.databaseUrl,
      namespace,
      passwordReference: null,
      topics: admin,
      query: (text, values) => client.query(text, [...values]),
      createSlot: true,
      settings,
    }),
  ).catch(async (error: unknown) => {
    await admin.close();
    throw error;
  });
  return {
    namespace,
    env: {
      FRESHET_FEED: 'kafka',
      FRESHET_NAMESPACE: namespace,
      FRESHET_KAFKA_BROKERS: brokers,
      FRESHET_CONNECT_URL: connectUrl,
    },
    kafka: { names, brokers, admin, pids },
    takeAway,
  };
}

/** Whoever streamed from it has stopped, and the server may need a moment to notice. */
const dropSlot = (stores: Stores, slot: string): Promise<void> =>
  withClient(stores.databaseUrl, client =>
    until(`slot ${slot} is gone`, async () => {
      await client.query(
        'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active',
        [slot],
      );
      const { rowCount } = await client.query('select from pg_replication_slots where slot_name = $1', [
        slot,
      ]);
      return rowCount === 0;
    }),
  );
