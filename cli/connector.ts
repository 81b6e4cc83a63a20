import { ConnectClient } from '../connectors/connect-client.ts';
import { passwordInFile } from '../connectors/connector-config.ts';
import { KafkaAdmin } from '../connectors/kafka-client.ts';
import { kafkaOptions } from '../connectors/kafka-options.ts';
import { kafkaNames } from '../connectors/names.ts';
import { type Query, type Registered, registerConnector } from '../connectors/register.ts';
import { runConnector, stopConnector } from '../connectors/run-connector.ts';
import { readConnectorSlot, storedUpTo } from '../connectors/slot-places.ts';
import { readTrace } from '../connectors/task-trouble.ts';
import { readSettings, type Settings } from '../shared/config.ts';
import { describe, FreshetError } from '../shared/errors.ts';
import { quoteLiteral } from '../shared/origin/quote.ts';
import { type Call, type Command, exitCode } from './command.ts';
import { type Targets, targetsOf } from './doctor/targets.ts';
import { withClient } from './local/database.ts';

/** What every order works with. */
interface Work {
  readonly call: Call;
  readonly settings: Settings;
  readonly targets: Targets;
  readonly connectUrl: string;
  readonly query: Query;
}

const orders: Readonly<Record<string, (work: Work) => Promise<number>>> = {
  register,
  status,
  restart,
  remove,
};

const lacking = (setting: string, what: string): FreshetError =>
  new FreshetError({
    code: 'bad-settings',
    message: `${setting} is not set, and no local Freshet runs that has one`,
    hint: `Name ${what}: docs/configuration.md.`,
  });

const badOption = (message: string): FreshetError =>
  new FreshetError({
    code: 'bad-option',
    message,
    hint: '`freshet connector --help` tells what it takes.',
  });

const text = (option: string | boolean | undefined): string | null =>
  typeof option === 'string' ? option : null;

/** Topics, slot and connector as they should be; says what it changed, and what the task complains of. */
async function register({ call, settings, targets, connectUrl, query }: Work): Promise<number> {
  const { options, print } = call;
  const { kafkaBrokers } = targets;
  if (kafkaBrokers === null) throw lacking('FRESHET_KAFKA_BROKERS', 'the brokers');
  const say = options.json ? () => {} : (line: string) => print(`- ${line}`);
  const topics = await KafkaAdmin.open(kafkaOptions(kafkaBrokers, settings, 'freshet-connector'));
  let registered: Registered;
  try {
    registered = await registerConnector({
      connectUrl,
      databaseUrl: text(options.database) ?? targets.databaseUrl,
      namespace: settings.namespace,
      passwordReference: passwordReference(options),
      topics,
      topicOptions: { partitions: settings.kafkaPartitions },
      query,
      createSlot: options['create-slot'] === true,
      settings: settingsOf(options),
      say,
    });
  } finally {
    await topics.close();
  }
  const { connector, outcome, gap } = registered;
  if (options.json) print(JSON.stringify({ connector, outcome, gap: gap && describe(gap) }));
  else if (gap) print(describe(gap));
  else print(`connector ${connector} ${outcome === 'unchanged' ? 'is as it should be' : outcome}, and runs`);
  return gap && options['leave-gaps-to-workers'] !== true ? exitCode.trouble : exitCode.good;
}

function passwordReference(options: Call['options']): string | null {
  const [file, reference] = [text(options['password-file']), text(options['password-reference'])];
  if (file !== null && reference !== null)
    throw badOption('--password-file and --password-reference are two ways to say one thing: give one');
  return file === null ? reference : passwordInFile(file);
}

/** `--set name=value`, as often as there is something to set. */
function settingsOf(options: Call['options']): Record<string, string> {
  const set = (options.set ?? []) as unknown as readonly string[];
  return Object.fromEntries(
    set.map(pair => {
      const at = pair.indexOf('=');
      if (at < 1) throw badOption(`--set: expected name=value, got ${JSON.stringify(pair)}`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

async function status({ call, settings, connectUrl, query }: Work): Promise<number> {
  const { options, print } = call;
  const names = kafkaNames(settings.namespace);
  const client = new ConnectClient({ url: connectUrl });
  // One that was removed may leave a state behind.
  const isThere = (await client.config(names.connector)) !== null;
  const state = isThere ? await client.state(names.connector) : null;
  const slot = await readConnectorSlot(query, names.slot);
  const stored = state && storedUpTo((await client.offsets(names.connector)) ?? []);
  const trouble = state?.trace ? readTrace(state.trace) : null;
  const isGood = state?.task === 'RUNNING' && slot?.activePid != null;
  if (options.json) {
    const seen = { connector: state?.connector ?? null, task: state?.task ?? null };
    print(JSON.stringify({ name: names.connector, isGood, ...seen, trouble, stored, slot }, null, 2));
  } else {
    print(
      `connector  ${names.connector}: ${isThere ? (state?.connector ?? 'not started yet') : 'not registered'}`,
    );
    print(`task       ${state?.task ?? 'none'}${trouble ? `: ${trouble.message}` : ''}`);
    if (trouble?.hint) print(`           ${trouble.hint}`);
    print(`stored     ${stored ?? 'nothing'}`);
    print(`slot       ${names.slot}: ${slotWords(slot)}`);
  }
  return isGood ? exitCode.good : exitCode.trouble;
}

function slotWords(slot: Awaited<ReturnType<typeof readConnectorSlot>>): string {
  if (slot === null) return 'there is none';
  if (slot.lostBecause !== null) return `gives nothing any more (${slot.lostBecause})`;
  const reader = slot.activePid === null ? 'nobody reads it' : `read by process ${slot.activePid}`;
  return `${reader}, confirmed up to ${slot.confirmedLsn}, ${slot.retainedBytes ?? 0} bytes of the log kept for it`;
}

async function restart({ call, settings, connectUrl, query }: Work): Promise<number> {
  const names = kafkaNames(settings.namespace);
  const client = new ConnectClient({ url: connectUrl });
  await known(client, names.connector);
  const slot = await readConnectorSlot(query, names.slot);
  await client.restart(names.connector);
  await runConnector({ client, names, query }, slot?.activePid ?? null);
  call.print(
    call.options.json
      ? JSON.stringify({ connector: names.connector, restarted: true })
      : `connector ${names.connector} runs again`,
  );
  return exitCode.good;
}

/** What Connect remembers of it goes too: met by another slot under its name, it would stop the next one for good. */
async function remove({ call, settings, connectUrl, query }: Work): Promise<number> {
  const names = kafkaNames(settings.namespace);
  const client = new ConnectClient({ url: connectUrl });
  await known(client, names.connector);
  await stopConnector({ client, names, query });
  await client.deleteOffsets(names.connector);
  await client.remove(names.connector);
  if (call.options.json) {
    call.print(JSON.stringify({ connector: names.connector, removed: true }));
  } else {
    call.print(`connector ${names.connector} is removed, with the places it had stored`);
    call.print(`The slot keeps log until somebody reads it. To drop it, where it is not needed any more:`);
    call.print(`  select pg_drop_replication_slot(${quoteLiteral(names.slot)});`);
  }
  return exitCode.good;
}

async function known(client: ConnectClient, connector: string): Promise<void> {
  if ((await client.config(connector)) !== null) return;
  throw new FreshetError({
    code: 'connector-missing',
    message: `Kafka Connect knows no connector ${connector}`,
    hint: '`freshet connector register` makes it.',
  });
}

/** Debezium's connector, for the feed `kafka`. */
export const command: Command = {
  usage: `${Object.keys(orders).join('|')} [--json]
  register takes:
    --database <url>             where and as whom Connect reaches the database; unless given, DATABASE_URL
    --password-file <path>       properties file on the machine of Connect, with the key \`password\`
    --password-reference <text>  the same by another config provider, as in '\${env:NAME}'
    --create-slot                make the replication slot where it is missing
    --leave-gaps-to-workers      lost changes are no failure: a worker that starts next begins anew
    --set <name>=<value>         a further setting of the connector: connectors/README.md says which`,
  options: {
    json: { type: 'boolean' },
    database: { type: 'string' },
    'password-file': { type: 'string' },
    'password-reference': { type: 'string' },
    'create-slot': { type: 'boolean' },
    'leave-gaps-to-workers': { type: 'boolean' },
    set: { type: 'string', multiple: true },
  },
  async run(call) {
    const { words, env, print } = call;
    const order = words.length === 1 && Object.hasOwn(orders, words[0]!) ? orders[words[0]!] : undefined;
    if (!order) {
      print(
        `Expected "freshet connector ${Object.keys(orders).join('|')}", got "freshet connector ${words.join(' ')}".`,
      );
      return exitCode.usage;
    }
    const settings = readSettings(env);
    const targets = targetsOf(settings);
    const { connectUrl } = targets;
    if (connectUrl === null) throw lacking('FRESHET_CONNECT_URL', 'Kafka Connect');
    return withClient(targets.databaseUrl, client =>
      order({
        call,
        settings,
        targets,
        connectUrl,
        query: (statement, values) => client.query(statement, [...values]),
      }),
    );
  },
};
