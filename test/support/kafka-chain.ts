import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startBroker, startConnect, type TestBroker, type TestConnect } from './kafka-servers.ts';

/** The broker and the Connect that the files of a run share; each file takes names of its own (`namespace()`). */
export interface KafkaChain {
  readonly brokers: string;
  readonly connectUrl: string;
  readonly passwordFolder: string;
  /** What to show when something is not as expected. */
  readonly logFiles: readonly string[];
}

interface Started {
  readonly broker: TestBroker;
  readonly connect: TestConnect;
}

export interface ChainHost {
  /** For TEST_KAFKA_CHAIN_URL. */
  readonly url: string;
  /** Stops what was started, if anything was. */
  close(): Promise<void>;
}

async function start(): Promise<Started> {
  const broker = await startBroker();
  try {
    return { broker, connect: await startConnect(broker) };
  } catch (error) {
    await broker.stop();
    throw error;
  }
}

const told = ({ broker, connect }: Started): KafkaChain => ({
  brokers: broker.brokers,
  connectUrl: connect.url,
  passwordFolder: connect.passwordFolder,
  logFiles: [broker.logFile, connect.logFile],
});

/**
 * Belongs to jest's own process, which outlives its workers: the first who asks has the chain started, everybody else
 * waits for that same start. A run that asks for none starts no JVM.
 */
export async function hostKafkaChain(): Promise<ChainHost> {
  let starting: Promise<Started> | undefined;
  const server = createServer((_request, response) => {
    starting ??= start();
    starting.then(
      started => response.end(JSON.stringify(told(started))),
      (error: Error) => response.writeHead(500).end(error.stack),
    );
  });
  // A cold start fetches jars: the client's patience counts, not the server's.
  server.requestTimeout = 0;
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      const started = await starting?.catch(() => undefined);
      await started?.connect.stop();
      await started?.broker.stop();
    },
  };
}

/** The shared chain, started by the first who asks: allow `kafkaStartLimitMs`. */
export async function kafkaChain(): Promise<KafkaChain> {
  const url = process.env.TEST_KAFKA_CHAIN_URL;
  if (!url)
    throw new Error('TEST_KAFKA_CHAIN_URL is not set: run the tests with jest, which starts the servers');
  const response = await fetch(url, { method: 'POST' });
  const text = await response.text();
  if (!response.ok) throw new Error(`the Kafka chain of this run did not start: ${text}`);
  return JSON.parse(text) as KafkaChain;
}

export { kafkaStartLimitMs } from './kafka-servers.ts';
