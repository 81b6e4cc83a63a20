import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { KafkaAdmin } from '../../connectors/kafka-client.ts';
import { startLocalBroker } from '../../connectors/local/broker.ts';
import { writePasswordFile } from '../../connectors/local/connect.ts';
import { readyKafkaRuntime } from '../../connectors/local/runtime.ts';
import { isPortFree } from '../../shared/local/ports.ts';
import { eventually } from '../support/eventually.ts';
import { areGone } from '../support/instance.ts';
import { kafkaChain } from '../support/kafka-chain.ts';
import {
  kafkaStartLimitMs,
  startBroker,
  startConnect,
  type TestBroker,
  type TestConnect,
} from '../support/kafka-servers.ts';

const topicsOf = async (brokers: string, topic: string): Promise<number | null> => {
  const admin = await KafkaAdmin.open({ brokers: [brokers], clientId: 'test' });
  try {
    return await admin.partitions(topic);
  } finally {
    await admin.close();
  }
};
const makeTopic = async (brokers: string, topic: string): Promise<void> => {
  const admin = await KafkaAdmin.open({ brokers: [brokers], clientId: 'test' });
  await admin.createTopic(topic, 3, {});
  await admin.close();
};

describe('servers of a test', () => {
  let broker: TestBroker;
  let connect: TestConnect;
  beforeAll(async () => {
    broker = await startBroker();
    connect = await startConnect(broker);
  }, kafkaStartLimitMs);
  afterAll(async () => {
    await connect?.stop();
    await broker?.stop();
  });

  const connectors = async (): Promise<unknown> => (await fetch(`${connect.url}/connectors`)).json();

  test('a killed broker comes back on its address with its data, and Connect finds it again', async () => {
    await makeTopic(broker.brokers, 'kept');
    const { pid } = broker;
    await broker.kill();
    expect(areGone([pid])).toBe(true);
    await broker.restart();
    expect(broker.pid).not.toBe(pid);
    expect(await topicsOf(broker.brokers, 'kept')).toBe(3);
    await eventually('Connect takes orders', connectors, seen => Array.isArray(seen), 30_000);
  }, 60_000);

  test('a killed Connect comes back on its address', async () => {
    const { pid, url } = connect;
    await connect.kill();
    await expect(connectors()).rejects.toThrow();
    await connect.restart();
    expect(connect.pid).not.toBe(pid);
    expect(connect.url).toBe(url);
    expect(await connectors()).toEqual([]);
  }, 60_000);

  test('only this machine reaches them', async () => {
    const addresses = Object.values(networkInterfaces()).flatMap(all => all ?? []);
    for (const { port } of [broker, connect]) {
      expect(await isPortFree(port)).toBe(false);
      for (const { address } of addresses.filter(one => !one.internal && one.family === 'IPv4'))
        expect({ address, isFree: await isPortFree(port, address) }).toEqual({ address, isFree: true });
    }
  });

  test('Connect reads passwords from files that only this user can read, and from nowhere else', async () => {
    const password = ' pä:ss=\\wörd# ';
    const file = writePasswordFile(connect.passwordFolder, 'test', password);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    // What a host name may not be is told with the value that the reference led to.
    const resolved = async (reference: string): Promise<string> => {
      const connector = 'io.debezium.connector.postgresql.PostgresConnector';
      const response = await fetch(`${connect.url}/connector-plugins/${connector}/config/validate`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          'connector.class': connector,
          name: 'test',
          'database.hostname': reference,
        }),
      });
      return response.text();
    };
    expect(await resolved(`\${file:${file}:password}`)).toContain(
      `'database.hostname' value is invalid: ${JSON.stringify(password).slice(1, -1)} has`,
    );
    const elsewhere = `\${file:${join(connect.passwordFolder, '..', 'worker.properties')}:group.id}`;
    expect(await resolved(elsewhere)).toContain(`'database.hostname' value is invalid: ${elsewhere} has`);
  });

  test('a Connect that hangs is not waited for longer than it may take', async () => {
    const { pid } = connect;
    process.kill(pid, 'SIGSTOP');
    const began = performance.now();
    await connect.halt();
    expect(performance.now() - began).toBeLessThan(8_000);
    expect(areGone([pid])).toBe(true);
    await connect.restart();
  }, 60_000);
});

test(
  'the data of a broker outlives another port, and a broker left behind is stopped first',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'freshet-kafka-moved-'));
    const said: string[] = [];
    const runtime = await readyKafkaRuntime({ env: process.env, say: line => said.push(line) });
    const start = () =>
      startLocalBroker({
        runtime,
        folder: join(folder, 'kafka'),
        logFile: join(folder, 'kafka.log'),
        say: line => said.push(line),
      });
    const first = await start();
    await makeTopic(first.brokers, 'kept');
    const second = await start();
    try {
      expect(said).toContain(
        `stopping the Kafka broker that an earlier run left behind (process ${first.pid})`,
      );
      expect(areGone([first.pid])).toBe(true);
      expect(second.port).not.toBe(first.port);
      expect(await topicsOf(second.brokers, 'kept')).toBe(3);
    } finally {
      await second.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  },
  kafkaStartLimitMs,
);

test(
  'the chain of the run is one, whoever asks and how often',
  async () => {
    const [one, other] = await Promise.all([kafkaChain(), kafkaChain()]);
    expect(one).toEqual(other);
    expect(await topicsOf(one.brokers, 'no such topic')).toBeNull();
    expect((await fetch(`${one.connectUrl}/connectors`)).status).toBe(200);
  },
  kafkaStartLimitMs,
);
