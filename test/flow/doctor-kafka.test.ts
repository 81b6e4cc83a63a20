import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { diagnose, runInit, whatIn } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { openWorld, type World } from '../support/world.ts';

const CHAIN_LIMIT_MS = 180_000;
const CEILING = 'one connector carries 15,000 to 20,000 changes a second, whatever the number of workers';

describe('doctor, of the kafka feed,', () => {
  let world: World;
  let env: Record<string, string>;

  beforeAll(async () => {
    world = await openWorld({
      feed: 'kafka',
      schema: 'create table cities (id int primary key); insert into cities values (1)',
    });
    env = {
      DATABASE_URL: world.database.url,
      FRESHET_NAMESPACE: world.namespace.slice('freshet:'.length),
      ...world.kafka!.env,
    };
  }, CHAIN_LIMIT_MS);
  afterAll(() => world?.close());

  const findingsOf = async (group: string, asked = env) =>
    (await diagnose(asked)).groups.find(({ name }) => name === group)!.findings;

  test('finds nothing missing where the connector runs, and says what it carries', async () => {
    const found = await diagnose(env);
    expect({ code: found.code, lacks: found.lacks }).toEqual({ code: 0, lacks: [] });
    expect(whatIn(found.notes)).toContain(CEILING);
    const { topic, connector, slot } = world.kafka!.names;
    const all = whatIn(found.groups.flatMap(({ findings }) => findings)).join('\n');
    for (const part of [
      `topic ${topic}, 4 partitions; group `,
      `connector ${connector} and its task are RUNNING`,
      `slot ${slot}: read by process `,
    ]) {
      expect(all).toContain(part);
    }
  });

  test('names topic and connector that are not there, and who makes them', async () => {
    const other = { ...env, FRESHET_NAMESPACE: 'nobody_registered_this' };
    const found = await diagnose(other);
    expect(found.code).toBe(3);
    expect(found.lacks).toMatchObject([
      { what: 'the replication slot freshet_dbz_nobody_registered_this' },
      {
        what: 'there is no topic freshet_nobody_registered_this.changes',
        mend: '`freshet connector register` makes it what it should be.',
      },
      {
        what: 'Kafka Connect knows no connector freshet_nobody_registered_this',
        mend: '`freshet connector register` makes it what it should be.',
      },
    ]);
    // `init` prints the slot of this feed.
    expect((await runInit(other, {})).text).toContain(
      `select pg_create_logical_replication_slot('freshet_dbz_nobody_registered_this', 'pgoutput', failover => true);`,
    );
  });

  test('names a topic with another number of partitions', async () => {
    expect(whatIn(await findingsOf('Kafka', { ...env, FRESHET_KAFKA_PARTITIONS: '8' }))).toEqual([
      `topic ${world.kafka!.names.topic} has 4 partitions, expected 8`,
    ]);
  });

  test('names a connector that follows another database', async () => {
    const other = new URL(world.database.url);
    other.pathname = '/postgres';
    const [first] = await findingsOf('Kafka Connect', { ...env, DATABASE_URL: other.href });
    expect(first).toMatchObject({
      level: 'missing',
      what: expect.stringMatching(/^connector \S+ has database\.dbname=test_\w+, expected postgres$/),
    });
  });

  test('names brokers and a Connect that do not answer', async () => {
    const away = { ...env, FRESHET_KAFKA_BROKERS: '127.0.0.1:1', FRESHET_CONNECT_URL: 'http://127.0.0.1:1' };
    expect(whatIn((await diagnose(away)).lacks)).toEqual([
      expect.stringContaining('no broker of 127.0.0.1:1 answers'),
      expect.stringContaining('127.0.0.1:1'),
    ]);
  });

  test('notes what is started here where nothing is named', async () => {
    const { FRESHET_KAFKA_BROKERS: _brokers, FRESHET_CONNECT_URL: _connect, ...local } = env;
    expect(whatIn((await diagnose(local)).notes)).toEqual(
      expect.arrayContaining([
        'FRESHET_KAFKA_BROKERS is not set: local ones are started',
        'FRESHET_CONNECT_URL is not set',
      ]),
    );
  });

  test('tells the state of a connector that stands still', async () => {
    const { connector } = world.kafka!.names;
    await world.kafka!.connect.stop(connector);
    await eventually(
      'it is stopped',
      () => world.kafka!.connect.state(connector),
      state => state?.connector === 'STOPPED' && state.task === null,
      20_000,
    );
    expect(whatIn(await findingsOf('Kafka Connect'))).toEqual([
      `connector ${connector} is STOPPED, its task none`,
    ]);
  }, 60_000);
});
