import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { redisBinary } from '../../cli/local/redis-binary.ts';
import { KafkaAdmin } from '../../connectors/kafka-client.ts';
import { readyKafkaRuntime } from '../../connectors/local/runtime.ts';
import { kafkaNames } from '../../connectors/names.ts';
import { eventually } from '../support/eventually.ts';
import { areGone, Instance, pidsOf } from '../support/instance.ts';
import { kafkaStartLimitMs } from '../support/kafka-servers.ts';

const paris = 2988507;
const { topic } = kafkaNames(null);

const city = async (api: string) => {
  const response = await fetch(`${api}/cities/${paris}`);
  return {
    status: response.headers.get('cache-status') ?? '',
    population: ((await response.json()) as { population: number }).population,
  };
};
async function recordsIn(brokers: string): Promise<bigint> {
  const admin = await KafkaAdmin.open({ brokers: [brokers], clientId: 'test' });
  try {
    return [...(await admin.ranges(topic)).values()].reduce((sum, { latest }) => sum + latest, 0n);
  } finally {
    await admin.close();
  }
}

describe('npm run start:kafka', () => {
  let freshet: Instance;
  beforeAll(async () => {
    await readyKafkaRuntime({ env: process.env, say: line => process.stderr.write(`${line}\n`) });
    freshet = await Instance.create({ FRESHET_FEED: 'kafka', FRESHET_WORKER_PROCESSES: '2' });
    await freshet.up();
  }, kafkaStartLimitMs);
  afterAll(() => freshet?.remove(), kafkaStartLimitMs);

  /** An edit past the API is shown, and what was shown before it was a hit: the feed brought it. */
  async function showsAnEdit(): Promise<void> {
    const { api } = freshet.run();
    const before = await eventually(
      'the row is served from the cache',
      () => city(api),
      ({ status }) => status.includes('hit'),
      30_000,
    );
    const edit = await freshet
      .with({})
      .command('sql', `UPDATE cities SET population = population + 1 WHERE id = ${paris}`);
    expect(edit).toEqual({ code: 0, printed: 'UPDATE 1\n' });
    await eventually(
      'the edit is read',
      () => city(api),
      seen => seen.population === before.population + 1,
      20_000,
    );
    await eventually(
      'and it is a hit',
      () => city(api),
      seen => seen.status.includes('hit') && seen.population === before.population + 1,
      20_000,
    );
  }

  test('panel, run.json and status name the broker, Connect and every worker', async () => {
    const run = freshet.run();
    expect(run).toMatchObject({
      feed: 'kafka',
      kafkaBrokers: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      connectUrl: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
    expect(run.pids.workers).toHaveLength(2);
    expect(pidsOf(run).every(Number.isInteger)).toBe(true);
    expect(areGone([run.pids.kafka!])).toBe(false);
    expect(areGone([run.pids.connect!])).toBe(false);
    expect(freshet.printed).toContain('local, feed kafka, 2 workers');
    expect(freshet.printed).toContain(run.kafkaBrokers!);
    const status = await eventually(
      'every process has reported',
      () => freshet.with({}).command('status', '--json'),
      ({ code, printed }) => code === 0 && JSON.parse(printed).processes.length === 3,
    );
    const roles = JSON.parse(status.printed).processes.map(({ role }: { role: string }) => role);
    expect(roles.toSorted()).toEqual(['api', 'worker', 'worker']);
    const { printed } = await freshet.with({}).command('status');
    expect(printed).toContain(run.connectUrl!);
  });

  test('the password is in the file for Connect and in no log', () => {
    const { databaseUrl } = freshet.run();
    const { password } = new URL(databaseUrl);
    const found = (where: string): string[] =>
      execFileSync('sh', ['-c', `grep -rl ${password} ${join(freshet.dataDir, where)} || true`], {
        encoding: 'utf8',
      })
        .trim()
        .split('\n')
        .map(file => file.slice(freshet.dataDir.length));
    expect(found('connect')).toEqual(['/connect/passwords/freshet.properties']);
    expect(found('logs')).toEqual(['']);
  });

  test('an edit in the database is shown', () => showsAnEdit(), 90_000);

  test('a broker and a Connect that die are started again under their addresses', async () => {
    const before = freshet.run();
    const { kafka, connect } = before.pids;
    process.kill(kafka!, 'SIGKILL');
    process.kill(connect!, 'SIGKILL');
    const after = await eventually(
      'both run again',
      () => freshet.run(),
      ({ pids }) => {
        const isNew = (now: number | null | undefined, then: number | null | undefined): boolean =>
          typeof now === 'number' && now !== then;
        return isNew(pids.kafka, kafka) && isNew(pids.connect, connect);
      },
      60_000,
    );
    expect(after).toMatchObject({ kafkaBrokers: before.kafkaBrokers, connectUrl: before.connectUrl });
    expect(freshet.printed).toContain('the Kafka broker ended by itself');
    expect(freshet.printed).toContain('Kafka Connect runs again');
    await showsAnEdit();
  }, 180_000);

  test('Ctrl-C leaves no process, and the next start goes on with the same data', async () => {
    const run = freshet.run();
    const { population } = await city(run.api);
    const records = await recordsIn(run.kafkaBrokers!);
    expect(await freshet.ctrlC()).toBe(0);
    expect(freshet.printed).toMatch(/stopped \([\d.]+ s\)\n$/);
    expect(areGone(pidsOf(run))).toBe(true);

    const again = await freshet.up();
    expect(again).toMatchObject({ kafkaBrokers: run.kafkaBrokers, connectUrl: run.connectUrl });
    expect(freshet.printed).not.toContain('made the topic');
    expect((await city(again.api)).population).toBe(population);
    expect(await recordsIn(again.kafkaBrokers!)).toBeGreaterThanOrEqual(records);
    await showsAnEdit();
  }, 180_000);

  test('what a killed supervisor left behind is stopped by the next start', async () => {
    const first = freshet.run();
    process.kill(first.pids.supervisor, 'SIGKILL');
    await freshet.ended();
    expect(areGone([first.pids.kafka!])).toBe(false);
    expect(areGone([first.pids.connect!])).toBe(false);
    const second = await freshet.up();
    for (const [name, pid] of [
      ['Kafka broker', first.pids.kafka],
      ['Kafka Connect', first.pids.connect],
    ])
      expect(freshet.printed).toContain(`the ${name} that an earlier run left behind (process ${pid})`);
    expect(areGone(pidsOf(first))).toBe(true);
    expect(second).toMatchObject({ kafkaBrokers: first.kafkaBrokers, connectUrl: first.connectUrl });
    await showsAnEdit();
    expect(await freshet.ctrlC()).toBe(0);
    expect(areGone(pidsOf(second))).toBe(true);
  }, 180_000);

  test('reset forgets the data', async () => {
    expect(await freshet.with({}).command('reset')).toMatchObject({ code: 0 });
    expect(readdirSync(join(freshet.dataDir, '..'))).toEqual([]);
  });
});

describe('what cannot start', () => {
  let freshet: Instance;
  beforeAll(async () => {
    freshet = await Instance.create({ FRESHET_FEED: 'kafka' });
  });
  afterAll(() => freshet.remove());

  test('without Java: one message with the command that brings it, and nothing is started', async () => {
    const bin = join(freshet.dataDir, '..', 'bin');
    mkdirSync(bin);
    symlinkSync(
      redisBinary(() => {}),
      join(bin, 'redis-server'),
    );
    const { code, printed } = await freshet.with({ PATH: bin, JAVA_HOME: undefined }).command('up');
    expect(code).toBe(1);
    expect(printed).toMatch(
      /^Kafka and Kafka Connect need Java 17 or newer, .*\n {2}Run `.*`, or set FRESHET_KAFKA_BROKERS/,
    );
    expect(readdirSync(freshet.dataDir)).toEqual([]);
  });

  test('a Connect without its brokers: one message, and nothing is started', async () => {
    const { code, printed } = await freshet.with({ FRESHET_CONNECT_URL: 'http://127.0.0.1:1' }).command('up');
    expect(code).toBe(1);
    expect(printed).toMatch(/^FRESHET_CONNECT_URL is set and FRESHET_KAFKA_BROKERS is not/);
    expect(readdirSync(freshet.dataDir)).toEqual([]);
  });
});
