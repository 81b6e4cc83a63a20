import { join } from 'node:path';
import { startLocalBroker } from '../../connectors/local/broker.ts';
import { startLocalConnect } from '../../connectors/local/connect.ts';
import { type KafkaRuntime, readyKafkaRuntime } from '../../connectors/local/runtime.ts';
import { ownServer, type TestServer, type TestServerOptions } from './servers.ts';

export interface TestBroker extends TestServer {
  /** What FRESHET_KAFKA_BROKERS takes. */
  readonly brokers: string;
}

export interface TestConnect extends TestServer {
  /** Where `writePasswordFile` puts what connectors read from files. */
  readonly passwordFolder: string;
}

/** For `beforeAll`: the jars may have to come first. */
export const kafkaStartLimitMs = 300_000;

const runtime = (): Promise<KafkaRuntime> =>
  readyKafkaRuntime({ env: process.env, say: line => process.stderr.write(`${line}\n`) });

/** A broker of the test's own, set up as the product's. */
export async function startBroker(options: TestServerOptions = {}): Promise<TestBroker> {
  const java = await runtime();
  const server = await ownServer('kafka', (folder, logFile, port) =>
    startLocalBroker({
      runtime: java,
      folder: join(folder, 'kafka'),
      logFile,
      port,
      ...(options.settings && { settings: options.settings }),
    }),
  );
  return Object.assign(server, { brokers: server.url });
}

/** A Connect of the test's own. On the shared broker it needs a group of its own: the namespace, for instance. */
export async function startConnect(
  { brokers }: Pick<TestBroker, 'brokers'>,
  options: TestServerOptions & { readonly group?: string } = {},
): Promise<TestConnect> {
  const java = await runtime();
  let passwordFolder = '';
  const server = await ownServer('connect', async (folder, logFile, port) => {
    const connect = await startLocalConnect({
      runtime: java,
      brokers,
      folder: join(folder, 'connect'),
      logFile,
      port,
      ...(options.group !== undefined && { group: options.group }),
      ...(options.settings && { settings: options.settings }),
    });
    passwordFolder = connect.passwordFolder;
    return connect;
  });
  return Object.assign(server, { passwordFolder });
}
