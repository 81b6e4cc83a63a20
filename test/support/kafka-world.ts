import { ConnectClient } from '../../connectors/connect-client.ts';
import { KafkaAdmin } from '../../connectors/kafka-client.ts';
import { type KafkaNames, kafkaNames } from '../../connectors/names.ts';
import { registerConnector } from '../../connectors/register.ts';
import type { TestDatabase } from './database.ts';
import { eventually } from './eventually.ts';
import { type KafkaChain, kafkaChain } from './kafka-chain.ts';

/** The topic, the connector and the slot of one world. */
export interface KafkaWorld {
  readonly names: KafkaNames;
  readonly brokers: string;
  readonly connect: ConnectClient;
  readonly admin: KafkaAdmin;
  /** What makes a process follow it. */
  readonly env: Readonly<Record<string, string>>;
  /** Takes everything away again but the slot. */
  close(): Promise<void>;
}

export interface KafkaWorldOptions {
  readonly database: Pick<TestDatabase, 'url' | 'query'>;
  /** FRESHET_NAMESPACE. */
  readonly namespace: string;
  /** Of the test's own; the shared chain otherwise. */
  readonly chain?: Pick<KafkaChain, 'brokers' | 'connectUrl'>;
  readonly partitions?: number;
}

/** Registers a connector for a database that was adopted, and returns when its task runs. */
export async function openKafkaWorld(options: KafkaWorldOptions): Promise<KafkaWorld> {
  const { database, namespace, partitions } = options;
  const { brokers, connectUrl } = options.chain ?? (await kafkaChain());
  const names = kafkaNames(namespace);
  const admin = await KafkaAdmin.open({ brokers: brokers.split(','), clientId: 'test' });
  const connect = new ConnectClient({ url: connectUrl });
  await registerConnector({
    connectUrl,
    databaseUrl: database.url,
    namespace,
    passwordReference: null,
    topics: admin,
    ...(partitions !== undefined && { topicOptions: { partitions } }),
    query: (text, values) => database.query(text, [...values]),
    createSlot: true,
  });
  return {
    names,
    brokers,
    connect,
    admin,
    env: { FRESHET_FEED: 'kafka', FRESHET_KAFKA_BROKERS: brokers, FRESHET_CONNECT_URL: connectUrl },
    async close() {
      // Its offsets would outlive it, and meet another slot under its name.
      await connect.stop(names.connector).catch(() => {});
      await eventually(
        `connector ${names.connector} is stopped`,
        () => connect.state(names.connector),
        state => state === null || (state.connector === 'STOPPED' && state.task === null),
        20_000,
      ).catch(() => {});
      await connect.deleteOffsets(names.connector).catch(() => {});
      await connect.remove(names.connector).catch(() => {});
      await admin.deleteTopic(names.topic).catch(() => {});
      await admin.deleteTopic(names.heartbeatTopic).catch(() => {});
      await admin.deleteGroup(names.group).catch(() => {});
      await admin.close();
    },
  };
}
