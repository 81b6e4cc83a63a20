import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../shared/errors.ts';
import { quoteLiteral } from '../shared/origin/quote.ts';
import { checkDatabase, notPrepared } from './check-database.ts';
import { ConnectClient, type ConnectorConfig, type SourceOffset } from './connect-client.ts';
import { connectorConfig, decoded } from './connector-config.ts';
import { type KafkaNames, kafkaNames } from './names.ts';
import { runConnector } from './run-connector.ts';
import { type ConnectorSlot, isAhead, readConnectorSlot, storedUpTo } from './slot-places.ts';
import { ensureTopics, type TopicAdmin, type TopicOptions } from './topics.ts';

/** One statement to the database that is followed. */
export type Query = (
  text: string,
  values: readonly unknown[],
) => Promise<{ readonly rows: readonly Record<string, unknown>[] }>;

export interface RegisterOptions {
  /** Connect's REST interface: `http://host:8083`. */
  readonly connectUrl: string;
  /** Where and as whom **Connect** reaches the database; its password is never sent, nor printed. */
  readonly databaseUrl: string;
  /** The setting FRESHET_NAMESPACE. */
  readonly namespace: string | null;
  /**
   * How Connect finds the password: a reference to a config provider of its worker, `${file:/path:password}`
   * (`passwordInFile` makes one of a path **on Connect's machine**), `${env:NAME}`, … Null where none is needed.
   */
  readonly passwordReference: string | null;
  readonly topics: TopicAdmin;
  readonly topicOptions?: TopicOptions;
  /** Asks the same database, from here. */
  readonly query: Query;
  /** Make the slot where it is missing; otherwise its absence is an error with the SQL. Default: false. */
  readonly createSlot?: boolean;
  /** Further settings of the connector, from a list that may be changed (connector-config.ts). */
  readonly settings?: Readonly<Record<string, string>>;
  readonly say?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface Registered {
  readonly connector: string;
  readonly outcome: 'created' | 'changed' | 'unchanged';
  /**
   * Set where slot and connector cannot be one history: changes are missing. The connector stands still then, until a
   * worker that knows Connect begins anew, with a new epoch. Null: it reads its slot.
   */
  readonly gap: FreshetError | null;
}

const KNOWN_LIMIT_MS = 10_000;
const LOOK_EVERY_MS = 50;

/**
 * Makes topics, slot and connector what they should be, and returns when the connector reads the slot. What is right
 * already is left as it is: nothing restarts. The password is in no message.
 * @throws FreshetError `database-not-prepared`, `topic-mismatch`, `slot-in-use`, `connector-failed` (with the task's
 * own words), `connector-not-streaming`, `bad-connector-settings`, `connect-refused`, `connect-unreachable`.
 */
export async function registerConnector(options: RegisterOptions): Promise<Registered> {
  const { query, topics, topicOptions = {}, say = () => {}, signal } = options;
  const names = kafkaNames(options.namespace);
  const { connector } = names;
  const config = connectorConfig({ ...options, names });
  const client = new ConnectClient({
    url: options.connectUrl,
    secrets: secretsOf(options.databaseUrl),
    signal,
  });

  await checkDatabase(query, names.slot, config['database.user']!);
  await ensureTopics(topics, names, topicOptions, say);

  const existing = await client.config(connector);
  // Stopped at first: Connect may remember places of an earlier connector of that name.
  if (existing === null) await client.createStopped(connector, config);
  const slot = await readConnectorSlot(query, names.slot);
  // After the slot: places are stored before the slot is told of them, so they are never behind it.
  const stored = storedUpTo(await untilKnown(client, connector, signal));

  const gap = findGap(names, slot, stored);
  if (gap) await standStill(client, connector);
  else if (slot === null) await makeSlot(names, options);
  const outcome = existing === null ? 'created' : isSame(existing, config) ? 'unchanged' : 'changed';
  if (outcome === 'changed') {
    say(`changing the settings of connector ${connector}`);
    await client.putConfig(connector, config);
  }
  if (gap) return { connector, outcome, gap };
  const readerBefore = outcome === 'changed' ? (slot?.activePid ?? null) : null;
  await runConnector({ client, names, query, signal }, readerBefore);
  return { connector, outcome, gap: null };
}

/** What Connect has stored of it: a connector that was just made is not known to every part of Connect at once. */
async function untilKnown(
  client: ConnectClient,
  connector: string,
  signal?: AbortSignal,
): Promise<readonly SourceOffset[]> {
  for (const until = performance.now() + KNOWN_LIMIT_MS; performance.now() < until; ) {
    const offsets = await client.offsets(connector);
    if (offsets !== null) return offsets;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
  throw new FreshetError({
    code: 'connect-refused',
    message: `Kafka Connect does not know connector ${connector} ${KNOWN_LIMIT_MS / 1000} s after it took it`,
    hint: 'Was it removed meanwhile? The log of Connect tells more.',
    retryable: true,
  });
}

/** The password as it is, and as the URL writes it. */
function secretsOf(databaseUrl: string): string[] {
  const { password, searchParams } = new URL(databaseUrl);
  return [password, decoded(password), searchParams.get('password') ?? ''];
}

/** Why the slot cannot bring all that the connector has not published yet; null while it can. */
function findGap(names: KafkaNames, slot: ConnectorSlot | null, stored: string | null): FreshetError | null {
  const what = describeGap(names.slot, slot, stored);
  if (what === null) return null;
  return new FreshetError({
    code: 'slot-offset-mismatch',
    message: `connector ${names.connector} and its slot cannot go on: ${what}. Changes are missing`,
    hint: 'A worker that runs with FRESHET_CONNECT_URL begins anew by itself: new epoch, new slot, the connector after it.',
  });
}

function describeGap(name: string, slot: ConnectorSlot | null, stored: string | null): string | null {
  if (slot === null)
    return stored === null ? null : `it has come to ${stored}, and there is no slot ${name} any more`;
  if (slot.lostBecause !== null) return `slot ${name} gives nothing any more (${slot.lostBecause})`;
  if (stored === null || slot.confirmedLsn === null || !isAhead(slot.confirmedLsn, stored)) return null;
  return `it has come to ${stored}, and slot ${name} goes on at ${slot.confirmedLsn}`;
}

/** A task that runs, or is about to, would move its places past the gap, and nobody could see it any more. */
async function standStill(client: ConnectClient, connector: string): Promise<void> {
  const state = await client.state(connector);
  if (state?.connector !== 'STOPPED') await client.stop(connector);
}

async function makeSlot({ slot }: KafkaNames, { query, createSlot, say }: RegisterOptions): Promise<void> {
  const { rows } = await query(
    "select (current_setting('server_version_num')::int >= 170000)::text as follows_failover",
    [],
  );
  // Standbys that keep such a slot in step can take over with it.
  const failover = rows[0]?.follows_failover === 'true' ? ', failover => true' : '';
  const sql = `select pg_create_logical_replication_slot(${quoteLiteral(slot)}, 'pgoutput'${failover})`;
  const what = `the replication slot ${slot}`;
  if (createSlot) {
    say?.(`making ${what}: it waits for the transactions that are writing now`);
    await query(sql, []);
  } else {
    throw notPrepared([{ level: 'missing', what, why: null, sql: [sql], mend: null }]);
  }
}

/** Connect adds the name. */
function isSame(existing: ConnectorConfig, wanted: ConnectorConfig): boolean {
  const { name: _, ...found } = existing;
  const names = new Set([...Object.keys(found), ...Object.keys(wanted)]);
  return [...names].every(name => found[name] === wanted[name]);
}
