import { decoded, passwordInFile } from '../../connectors/connector-config.ts';
import { startLocalBroker } from '../../connectors/local/broker.ts';
import { passwordFolderOf, startLocalConnect, writePasswordFile } from '../../connectors/local/connect.ts';
import { readyJars } from '../../connectors/local/jars.ts';
import { kafkaNames } from '../../connectors/names.ts';
import type { Settings } from '../../shared/config.ts';
import type { LocalServer } from '../../shared/local/server-process.ts';
import { type LocalServers, type Paths, rememberPorts } from '../data-folder.ts';
import { withClient } from '../local/database.ts';
import { type KeepOptions, keepServer, portOf, type Store } from './stores.ts';

/** The local Kafka chain that the workers follow. */
export interface KafkaChain {
  readonly broker: Store;
  readonly connect: Store;
  /** Files that connectors may read lie here. */
  readonly passwordFolder: string;
}

export interface KafkaOptions extends KeepOptions {
  readonly java: string;
  readonly env: NodeJS.ProcessEnv;
  readonly paths: Paths;
  readonly known: LocalServers;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
}

/** A chain that starts while others do their work. */
export interface StartingChain {
  readonly ready: Promise<KafkaChain>;
  /** Cuts a start short that is under way, and stops what runs: Connect, then the broker. */
  stop(): Promise<void>;
}

/** Starts a broker and then a Connect, both kept running. */
export function startKafkaChain(options: KafkaOptions): StartingChain {
  const started: Store[] = [];
  const cut = new AbortController();
  const ready = start({ ...options, signal: AbortSignal.any([options.signal, cut.signal]) }, started);
  ready.catch(() => {}); // Thrown where it is awaited.
  return {
    ready,
    async stop() {
      cut.abort();
      await ready.catch(() => {});
      for (const { kept } of started.toReversed()) await kept?.stop();
    },
  };
}

async function start(options: KafkaOptions, started: Store[]): Promise<KafkaChain> {
  const { java, env, paths, known, say, signal } = options;
  const runtime = { java, ...(await readyJars({ env, say, signal })) };
  say('starting Kafka and Kafka Connect');
  const keep = async (
    name: string,
    startServer: (port: number | undefined) => Promise<LocalServer>,
  ): Promise<Store> => {
    signal.throwIfAborted();
    const store = await keepServer(name, startServer, options);
    started.push(store);
    return store;
  };
  const broker = await keep('the Kafka broker', port =>
    startLocalBroker({
      runtime,
      folder: paths.kafka,
      logFile: paths.log('kafka'),
      port: port ?? known.kafkaPort,
      say,
    }),
  );
  const connect = await keep('Kafka Connect', port =>
    startLocalConnect({
      runtime,
      brokers: broker.url,
      folder: paths.connect,
      logFile: paths.log('connect'),
      port: port ?? known.connectPort,
      say,
    }),
  );
  rememberPorts(paths, { kafkaPort: portOf(broker), connectPort: portOf(connect) });
  return { broker, connect, passwordFolder: passwordFolderOf(paths.connect) };
}

export interface RegisterChainOptions {
  readonly chain: KafkaChain;
  readonly databaseUrl: string;
  /** The local database: what it lacks is made. */
  readonly isLocal: boolean;
  readonly settings: Settings;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Makes topics and connector what they should be, and returns when the connector runs, or waits for a worker's decision. */
export async function registerChain(options: RegisterChainOptions): Promise<void> {
  const { chain, databaseUrl, isLocal, settings, say, signal } = options;
  const { namespace } = settings;
  const url = new URL(databaseUrl);
  const password = decoded(url.password) || url.searchParams.get('password');
  const { connector } = kafkaNames(namespace);
  const passwordReference = password
    ? passwordInFile(writePasswordFile(chain.passwordFolder, connector, password))
    : null;
  // Large, and only this feed needs it.
  const [{ KafkaAdmin }, { registerConnector }] = await Promise.all([
    import('../../connectors/kafka-client.ts'),
    import('../../connectors/register.ts'),
  ]);
  const topics = await KafkaAdmin.open({ brokers: [chain.broker.url], clientId: 'freshet-up' });
  try {
    const { gap } = await withClient(databaseUrl, client =>
      registerConnector({
        connectUrl: chain.connect.url,
        databaseUrl,
        namespace,
        passwordReference,
        topics,
        topicOptions: { partitions: settings.kafkaPartitions },
        query: (text, values) => client.query(text, [...values]),
        createSlot: isLocal,
        say,
        signal,
      }),
    );
    if (gap) say(`${gap.message}: the workers begin anew`);
  } finally {
    await topics.close();
  }
}
