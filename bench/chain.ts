import { join } from 'node:path';
import { startLocalBroker } from '../connectors/local/broker.ts';
import { startLocalConnect } from '../connectors/local/connect.ts';
import { readyKafkaRuntime } from '../connectors/local/runtime.ts';
import { textOf } from './freshet.ts';
import type { Stores } from './stores.ts';

/** A broker and a Connect with Debezium's connector, as `npm run start:kafka` starts them. */
export interface Chain {
  readonly brokers: string;
  readonly connectUrl: string;
  readonly pids: { readonly broker: number; readonly connect: number };
  /** What runs, for the conditions of a result. */
  readonly versions: string;
}

/** They stop with the stores. */
export async function startChain(stores: Stores, say: (line: string) => void): Promise<Chain> {
  const runtime = await readyKafkaRuntime({ env: process.env, say });
  const place = (name: string) => ({
    runtime,
    folder: join(stores.folder, name),
    logFile: join(stores.folder, `${name}.log`),
  });
  const broker = await stores.keep(startLocalBroker(place('kafka')));
  const connect = await stores.keep(startLocalConnect({ ...place('connect'), brokers: broker.brokers }));
  const { version } = JSON.parse(await textOf(connect.url)) as { version: string };
  const plugins = JSON.parse(await textOf(`${connect.url}/connector-plugins`)) as {
    class: string;
    version: string;
  }[];
  const debezium = plugins.find(plugin => plugin.class.startsWith('io.debezium.'))?.version;
  return {
    brokers: broker.brokers,
    connectUrl: connect.url,
    pids: { broker: broker.pid, connect: connect.pid },
    versions: `Kafka ${version}, Debezium ${debezium}`,
  };
}
