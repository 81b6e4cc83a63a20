import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { ConnectClient } from '../../connectors/connect-client.ts';
import { passwordInFile } from '../../connectors/connector-config.ts';
import { KafkaAdmin } from '../../connectors/kafka-client.ts';
import { writePasswordFile } from '../../connectors/local/connect.ts';
import { type KafkaNames, kafkaNames } from '../../connectors/names.ts';
import { type RegisterOptions, registerConnector } from '../../connectors/register.ts';
import { runConnector, stopConnector } from '../../connectors/run-connector.ts';
import { readConnectorSlot } from '../../connectors/slot-places.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';
import { type KafkaChain, kafkaChain, kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { namespace as newNamespace } from '../support/namespace.ts';
import { runCli } from '../support/run-cli.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';

let chain: KafkaChain;
let topics: KafkaAdmin;
let connect: ConnectClient;
let database: TestDatabase;
let namespace: string;
let names: KafkaNames;

beforeAll(async () => {
  chain = await kafkaChain();
  topics = await KafkaAdmin.open({ brokers: [chain.brokers], clientId: 'test' });
  connect = new ConnectClient({ url: chain.connectUrl });
}, kafkaStartLimitMs);
afterAll(() => topics?.close());

/** A database of its own with a table, published; and the names of a new installation. */
async function prepare(server?: string): Promise<void> {
  database = await createDatabase(server);
  namespace = newNamespace();
  names = kafkaNames(namespace);
  await database.query(`create table cities (id int primary key, name text);
    create publication freshet for all tables with (publish_via_partition_root = true)`);
}

/** Nothing of it is left in Kafka, Connect and Postgres. */
async function cleanUp(): Promise<void> {
  if ((await connect.config(names.connector)) !== null) {
    await stopConnector({ client: connect, names, query });
    await connect.deleteOffsets(names.connector);
    await connect.remove(names.connector);
  }
  for (const topic of [names.topic, names.heartbeatTopic])
    if ((await topics.partitions(topic)) !== null) await topics.deleteTopic(topic);
  await database.drop();
}

const query: RegisterOptions['query'] = (text, values) => database.query(text, [...values]);
const register = (options: Partial<RegisterOptions> = {}) =>
  registerConnector({
    connectUrl: chain.connectUrl,
    databaseUrl: database.url,
    namespace,
    passwordReference: null,
    topics,
    query,
    createSlot: true,
    ...options,
  });
const slot = () => readConnectorSlot(query, names.slot);
const stop = () => stopConnector({ client: connect, names, query });
const refused = async (options: Partial<RegisterOptions> = {}) => {
  const error = await register(options).then(
    registered => new Error(`registered: ${JSON.stringify(registered)}`),
    (cause: Error & { code?: string; hint?: string }) => cause,
  );
  return {
    code: (error as { code?: string }).code,
    text: `${error.message}\n${(error as { hint?: string }).hint}`,
  };
};

/** What lies in the topic, in all partitions. */
const recordCount = async (): Promise<number> =>
  [...(await topics.ranges(names.topic)).values()].reduce((sum, { latest }) => sum + Number(latest), 0);
const untilRecords = (count: number) =>
  eventually(`${count} records`, recordCount, seen => seen >= count, 20_000);
const storedPlace = () =>
  eventually(
    'a place is stored',
    () => connect.offsets(names.connector),
    offsets => (offsets?.length ?? 0) > 0,
    20_000,
  );
/** A city is put in, published, and Connect knows that it was. */
async function publishOne(id: number): Promise<void> {
  const before = await recordCount();
  await database.query('insert into cities values ($1, $2)', [id, `city ${id}`]);
  await untilRecords(before + 1);
  await storedPlace();
}

describe('a connector', () => {
  beforeEach(() => prepare());
  afterEach(cleanUp, 60_000);

  test('is registered from nothing: topics, slot, connector, and changes arrive', async () => {
    const said: string[] = [];
    expect(await register({ topicOptions: { partitions: 3 }, say: line => said.push(line) })).toEqual({
      connector: names.connector,
      outcome: 'created',
      gap: null,
    });
    expect(said.map(line => line.split(':')[0])).toEqual([
      `made the topic ${names.topic}, 3 partitions`,
      `made the topic ${names.heartbeatTopic}, 1 partition`,
      `making the replication slot ${names.slot}`,
    ]);
    expect(await topics.partitions(names.topic)).toBe(3);
    await publishOne(1);
    const { rows } = await database.query(
      "select to_jsonb(s) ->> 'failover' as failover from pg_replication_slots s where slot_name = $1",
      [names.slot],
    );
    expect(rows).toEqual([{ failover: 'true' }]); // Since Postgres 17.
  });

  test('that is right already is left alone', async () => {
    await register();
    const before = await slot();
    expect(before!.reader).toBe('Debezium Streaming');
    expect(await register()).toMatchObject({ outcome: 'unchanged', gap: null });
    expect((await slot())!.activePid).toBe(before!.activePid);
  });

  test('with other settings is changed, and reads its slot again when that returns', async () => {
    await register();
    const before = await slot();
    const settings = { 'poll.interval.ms': '20' };
    expect(await register({ settings })).toMatchObject({ outcome: 'changed', gap: null });
    expect((await slot())!.activePid).not.toBe(before!.activePid);
    expect(await connect.config(names.connector)).toMatchObject(settings);
    expect(await register()).toMatchObject({ outcome: 'changed' });
    expect(await connect.config(names.connector)).toMatchObject({ 'poll.interval.ms': '5' });
  }, 60_000);

  test('that was stopped goes on where it was', async () => {
    await register();
    await publishOne(1);
    await stop();
    await database.query("insert into cities values (2, 'while it was stopped')");
    expect(await register()).toMatchObject({ outcome: 'unchanged', gap: null });
    await untilRecords(2);
  });

  test('of a database without publication is not even made', async () => {
    await database.query('drop publication freshet');
    const { code, text } = await refused();
    expect(code).toBe('database-not-prepared');
    expect(text).toContain('the publication freshet');
    expect(text).toContain('create publication freshet for table public.cities');
    expect(await connect.config(names.connector)).toBeNull();
    expect(await topics.partitions(names.topic)).toBeNull();
  });

  test('whose slot is to be made by somebody else says with which statement', async () => {
    const { code, text } = await refused({ createSlot: false });
    expect(code).toBe('database-not-prepared');
    const [statement] = /select pg_create_logical_replication_slot.*;/.exec(text)!;
    await database.query(statement);
    expect(await register({ createSlot: false })).toMatchObject({ gap: null });
  });

  test('whose role may not follow the log is told so, with the statement', async () => {
    const role = `${namespace}_weak`;
    await database.query(`create role ${role} login`);
    const url = new URL(database.url);
    url.username = role;
    const { code, text } = await refused({ databaseUrl: url.href });
    expect(code).toBe('database-not-prepared');
    expect(text).toContain(`alter role ${role} replication`);
    await database.query(`drop role ${role}`);
  });

  test('does not take the slot of another database', async () => {
    const other = await createDatabase();
    await other.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [names.slot]);
    const { code, text } = await refused();
    await other.drop();
    expect(code).toBe('database-not-prepared');
    expect(text).toContain(`${names.slot} belongs to database ${other.name}`);
  });

  test('does not wait for ever for a slot that somebody else reads', async () => {
    await database.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [names.slot]);
    const reader = new pg.Client({
      connectionString: database.url,
      application_name: 'a stranger',
      replication: 'database',
    } as pg.ClientConfig);
    reader.on('error', () => {});
    await reader.connect();
    reader
      .query(
        `START_REPLICATION SLOT ${names.slot} LOGICAL 0/0 (proto_version '1', publication_names 'freshet')`,
      )
      .catch(() => {});
    await eventually('it is read', slot, seen => seen?.activePid != null);
    const { code, text } = await refused();
    await database.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1',
      [names.slot],
    );
    expect(code).toBe('slot-in-use');
    expect(text).toContain('"a stranger"');
    expect(await register()).toMatchObject({ gap: null });
  }, 60_000);

  test('refuses a topic that cannot carry its changes', async () => {
    await topics.createTopic(names.topic, 2, {});
    expect(await refused()).toMatchObject({
      code: 'topic-mismatch',
      text: expect.stringContaining(`${names.topic} has 2 partitions, expected 4`),
    });
    expect(await connect.config(names.connector)).toBeNull();
  });

  test('brings a row of 10 MB, before and after', async () => {
    await register();
    await database.query('alter table cities replica identity full');
    await database.query("insert into cities values (1, repeat('x', 10000000))");
    await database.query("update cities set name = name || 'y'");
    await untilRecords(2);
    expect(await connect.state(names.connector)).toMatchObject({ task: 'RUNNING' });
  }, 60_000);

  test('moves its slot on while only other databases are written to', async () => {
    await register({ settings: { 'heartbeat.interval.ms': '200' } });
    const other = await createDatabase();
    try {
      await other.query("select pg_logical_emit_message(true, 'x', repeat('x', 1000000))");
      const { rows } = await database.query('select pg_current_wal_lsn()::text as written');
      await eventually(
        'the slot has passed it',
        () =>
          database.query(
            'select confirmed_flush_lsn > $2::pg_lsn as passed from pg_replication_slots where slot_name = $1',
            [names.slot, rows[0].written],
          ),
        seen => seen.rows[0].passed === true,
        20_000,
      );
      // Its message is for the slot alone.
      expect(await recordCount()).toBe(0);
    } finally {
      await other.drop();
    }
  }, 60_000);
});

describe('a slot that is not the one the connector knows', () => {
  beforeEach(async () => {
    await prepare();
    await register();
    await publishOne(1);
  }, 60_000);
  afterEach(cleanUp, 60_000);

  const drop = () => database.query('select pg_drop_replication_slot($1)', [names.slot]);
  const make = () =>
    database.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [names.slot]);
  const advance = () =>
    database.query('select pg_replication_slot_advance($1, pg_current_wal_lsn())', [names.slot]);
  const lose = () => database.query("insert into cities values (2, 'lost')");

  async function standsStill(said: RegExp): Promise<void> {
    const { gap } = await register();
    expect(gap).toMatchObject({ code: 'slot-offset-mismatch', message: expect.stringMatching(said) });
    expect(gap!.hint).toContain('A worker');
    await eventually(
      'it stands still',
      () => connect.state(names.connector),
      state => state?.task !== 'RUNNING',
    );
    expect(await recordCount()).toBe(1);
  }

  test('because it was dropped is a gap', async () => {
    await stop();
    await drop();
    await lose();
    await standsStill(/there is no slot/);
    expect(await slot()).toBeNull(); // A new one would hide it.
  });

  test('because it was made anew is a gap', async () => {
    await stop();
    await drop();
    await lose();
    await make();
    await standsStill(/goes on at/);
  });

  test('because it was moved on by hand is a gap, also where Debezium would not see it', async () => {
    // Holds the slot's restart_lsn back, which is all that Debezium looks at.
    const open = await database.connect();
    await open.query("begin; insert into cities values (9, 'open')");
    await publishOne(3);
    await stop();
    await lose();
    await advance();
    const { gap } = await register();
    expect(gap).toMatchObject({ message: expect.stringContaining('goes on at') });
    expect(await recordCount()).toBe(2);
    await open.query('rollback');
  });

  test('is seen, too, when the connector was removed and its places were not', async () => {
    await stop();
    await connect.remove(names.connector);
    await drop();
    await lose();
    const { outcome, gap } = await register();
    expect({ outcome, gap }).toMatchObject({ outcome: 'created', gap: { code: 'slot-offset-mismatch' } });
    await eventually(
      'it stands still',
      () => connect.state(names.connector),
      state => state?.connector === 'STOPPED',
    );
  });

  test('is no gap once the places are gone as well', async () => {
    await stop();
    await drop();
    await connect.deleteOffsets(names.connector);
    expect(await register()).toMatchObject({ gap: null });
    await publishOne(4);
  });
});

describe('a slot that was lost', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startPostgres({ settings: { max_slot_wal_keep_size: '16MB' } });
  }, 60_000);
  afterAll(() => server?.stop());

  beforeEach(() => prepare(server.url));
  afterEach(cleanUp, 60_000);

  test('is a gap, though Connect goes on saying that the task runs', async () => {
    await register();
    await publishOne(1);
    const { activePid } = (await slot())!;
    // A connection that does not get on, and more log than is kept.
    process.kill(activePid!, 'SIGSTOP');
    for (let segment = 0; segment < 4; segment++) {
      await database.query("select pg_logical_emit_message(false, 'x', repeat('x', 12000000))");
      await database.query('select pg_switch_wal()');
    }
    const checkpoint = database.query('checkpoint'); // Waits for that connection's end.
    process.kill(activePid!, 'SIGCONT');
    await checkpoint;
    await eventually('it is lost', slot, seen => seen?.lostBecause !== null && seen?.activePid === null);
    expect(await connect.state(names.connector)).toMatchObject({ task: 'RUNNING' });
    const { gap } = await register();
    expect(gap).toMatchObject({
      code: 'slot-offset-mismatch',
      message: expect.stringContaining('gives nothing any more'),
    });
    await eventually(
      'it stands still',
      () => connect.state(names.connector),
      state => state?.task !== 'RUNNING',
      20_000,
    );
  }, 60_000);
});

describe('a role with least rights, and its password', () => {
  const password = 'a-secret of "Connect" \\ ü';
  let server: TestServer;
  let databaseUrl: string;
  let passwordReference: string;
  let write: (text: string) => void;

  beforeAll(async () => {
    server = await startPostgres();
    const admin = new pg.Client({ connectionString: server.url });
    await admin.connect();
    const { rows } = await admin.query("select current_setting('hba_file') as file");
    writeFileSync(
      rows[0].file,
      `host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n`,
    );
    await admin.query('select pg_reload_conf()');
    await admin.end();
  }, 60_000);
  afterAll(() => server?.stop());

  beforeEach(async () => {
    await prepare(server.url);
    await database.query(readFileSync('connectors/roles.sql', 'utf8'));
    await setPassword(password);
    const url = new URL(database.url);
    url.username = 'freshet_connect';
    url.password = encodeURIComponent(password);
    databaseUrl = url.href;
    write = text => {
      passwordReference = passwordInFile(writePasswordFile(chain.passwordFolder, names.connector, text));
    };
    write(password);
  });
  afterEach(cleanUp, 60_000);

  const setPassword = (text: string) =>
    database.query(`alter role freshet_connect password '${text.replaceAll("'", "''")}'`);
  const asConnect = async <T>(work: (options: Partial<RegisterOptions>) => Promise<T>): Promise<T> => {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    try {
      return await work({
        databaseUrl,
        passwordReference,
        query: (text, values) => client.query(text, [...values]),
      });
    } finally {
      await client.end();
    }
  };

  test('are enough, for registering as well as for following', async () => {
    expect(await asConnect(register)).toMatchObject({ outcome: 'created', gap: null });
    await publishOne(1);
  });

  test('is known to Postgres, to the file, and to nobody who asks Connect', async () => {
    await asConnect(register);
    await publishOne(1);
    const told = await Promise.all(
      ['', '/config', '/tasks', '/tasks-config', '/status', '/offsets'].map(async path =>
        (await fetch(`${chain.connectUrl}/connectors/${names.connector}${path}`)).text(),
      ),
    );
    expect(told.join()).toContain(passwordReference);
    const logs = chain.logFiles.map(file => readFileSync(file, 'utf8'));
    for (const text of [...told, ...logs]) expect(text).not.toContain('a-secret of');
  });

  test('that is wrong is told, and not repeated', async () => {
    write('another secret');
    const { code, text } = await asConnect(refused);
    expect(code).toBe('connect-refused');
    expect(text).toContain('password authentication failed for user "freshet_connect"');
    expect(text).toContain('did not get the right password');
    expect(text).not.toMatch(/a-secret|another secret/);
  });

  test('that is nowhere is told with where it was looked for', async () => {
    passwordReference = passwordInFile(`${chain.passwordFolder}/nothing.properties`);
    const { code, text } = await asConnect(refused);
    expect(code).toBe('connect-refused');
    expect(text).toContain('nothing.properties');
    expect(text).toContain('must exist on the machine of Connect');
  });

  test('that was changed stops it with its own words; the new one mends it', async () => {
    await asConnect(register);
    await publishOne(1);
    await setPassword('new');
    await database.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1',
      [names.slot],
    );
    await eventually(
      'the task has failed',
      () => connect.state(names.connector),
      state => state?.task === 'FAILED',
      20_000,
    );
    // Asked by somebody else meanwhile.
    const { code, text } = await refused({ databaseUrl, passwordReference });
    expect(code).toBe('connector-failed');
    expect(text).toContain('FATAL: password authentication failed for user "freshet_connect"');
    write('new');
    expect(await register({ databaseUrl, passwordReference })).toMatchObject({
      outcome: 'unchanged',
      gap: null,
    });
    await publishOne(2);
  }, 60_000);
});

describe('freshet connector', () => {
  let env: Record<string, string>;
  beforeEach(async () => {
    await prepare();
    env = {
      DATABASE_URL: database.url,
      FRESHET_NAMESPACE: namespace,
      FRESHET_CONNECT_URL: chain.connectUrl,
      FRESHET_KAFKA_BROKERS: chain.brokers,
    };
  });
  afterEach(cleanUp, 60_000);

  const freshet = (...words: string[]) => runCli(['connector', ...words], env);

  test('registers, shows, restarts and removes', async () => {
    const early = await freshet('status');
    expect(early).toMatchObject({ code: 1, text: expect.stringContaining('not registered') });
    expect(await freshet('restart')).toMatchObject({
      code: 1,
      text: expect.stringContaining('knows no connector'),
    });

    const lacking = await freshet('register');
    expect(lacking).toMatchObject({ code: 3, text: expect.stringContaining(names.slot) });
    expect(await freshet('register', '--create-slot')).toMatchObject({
      code: 0,
      text: expect.stringContaining(`connector ${names.connector}`),
    });
    const again = await freshet('register', '--json');
    expect(JSON.parse(again.text)).toEqual({ connector: names.connector, outcome: 'unchanged', gap: null });

    const { code, text } = await freshet('status', '--json');
    expect(code).toBe(0);
    const seen = JSON.parse(text);
    expect(seen).toMatchObject({
      name: names.connector,
      isGood: true,
      connector: 'RUNNING',
      task: 'RUNNING',
    });

    expect(await freshet('restart')).toMatchObject({ code: 0 });
    expect((await slot())!.activePid).not.toBe(seen.slot.activePid);

    const removed = await freshet('remove');
    expect(removed).toMatchObject({ code: 0, text: expect.stringContaining('pg_drop_replication_slot') });
    expect(await connect.config(names.connector)).toBeNull();
  }, 60_000);

  test('tells lost changes as a failure, unless a worker is to begin anew', async () => {
    await register();
    await publishOne(1);
    await stop();
    await database.query('select pg_drop_replication_slot($1)', [names.slot]);
    expect(await freshet('register', '--create-slot')).toMatchObject({
      code: 1,
      text: expect.stringContaining('Changes are missing'),
    });
    expect(await freshet('register', '--create-slot', '--leave-gaps-to-workers')).toMatchObject({ code: 0 });
    expect(await freshet('status')).toMatchObject({
      code: 1,
      text: expect.stringContaining('there is none'),
    });
  }, 60_000);

  test.each([
    [[], 'Expected "freshet connector register', 2],
    [['mend'], 'Expected "freshet connector register', 2],
    [['register', '--set', 'poll'], 'expected name=value', 1],
    [['register', '--set', 'snapshot.mode=initial'], 'snapshot.mode cannot be set here', 1],
    [['register', '--password-file', '/a', '--password-reference', `\${env:A}`], 'give one', 1],
    [['register', '--password-reference', 'geheim'], 'expected a reference', 1],
  ])('refuses %j', async (words, said, code) => {
    const answer = await freshet(...words);
    expect(answer).toMatchObject({ code, text: expect.stringContaining(said) });
    expect(answer.text).not.toContain('geheim');
  });

  test('says which address it lacks', async () => {
    const { FRESHET_CONNECT_URL: _, ...rest } = env;
    expect(await runCli(['connector', 'status'], rest)).toMatchObject({
      code: 1,
      text: expect.stringContaining('FRESHET_CONNECT_URL is not set'),
    });
  });
});

test('a failure of the run before is no failure of this one', async () => {
  await prepare();
  try {
    await register();
    await stop();
    await database.query('alter publication freshet rename to elsewhere');
    await connect.resume(names.connector);
    await eventually(
      'the task has failed',
      () => connect.state(names.connector),
      state => state?.task === 'FAILED',
      20_000,
    );
    await database.query('alter publication elsewhere rename to freshet');
    await runConnector({ client: connect, names, query }, null);
    expect(await connect.state(names.connector)).toMatchObject({ task: 'RUNNING' });
  } finally {
    await cleanUp();
  }
}, 60_000);
