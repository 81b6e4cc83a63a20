import { readFileSync } from 'node:fs';
import { FreshetError } from '../shared/errors.ts';
import type { ConnectorConfig } from './connect-client.ts';
import type { KafkaNames } from './names.ts';

export interface ConfigOptions {
  readonly names: KafkaNames;
  /** Where and as whom Connect reaches the database. Its password goes nowhere. */
  readonly databaseUrl: string;
  /** `${provider:path:key}`; null for a database that asks for no password. */
  readonly passwordReference: string | null;
  /** Further settings; only of those that freshness does not rest on. */
  readonly settings?: Readonly<Record<string, string>>;
}

const file = new URL('./debezium.json', import.meta.url);
const placeholder = /\$\{FRESHET_[A-Z_]+\}/g;
const reference = /^\$\{[A-Za-z][\w-]*:[^{}]+\}$/;
const DEFAULT_PORT = '5432';

/** What may be set besides: how the database and Kafka are reached, and what costs what. */
const open: readonly RegExp[] = [
  /^database\.ssl(cert|key|rootcert|factory)$/,
  /^producer\.override\.(security|sasl|ssl)\./,
  /^producer\.override\.(bootstrap\.servers|max\.request\.size|buffer\.memory|batch\.size|linger\.ms)$/,
  /^(heartbeat|poll|status\.update)\.interval\.ms$/,
  /^max\.(batch\.size|queue\.size|queue\.size\.in\.bytes)$/,
  /^database\.(tcpKeepAlive|query\.timeout\.ms)$/,
];
const isSecret = /(password|jaas\.config|secret)$/i;

const bad = (message: string, hint: string): FreshetError =>
  new FreshetError({ code: 'bad-connector-settings', message, hint });

/** Reference to the key `password` of a properties file on the machine of Connect's worker. */
export function passwordInFile(path: string): string {
  if (!/[:{}]/.test(path) && path.trim() !== '') return `\${file:${path}:password}`;
  throw bad(
    `the path of the password file must have none of : { }, got ${JSON.stringify(path)}`,
    'Connect cuts its references at these.',
  );
}

/** The connector's settings as they are posted. @throws FreshetError `bad-connector-settings`. */
export function connectorConfig(options: ConfigOptions): ConnectorConfig {
  const values = valuesOf(options);
  const template = JSON.parse(readFileSync(file, 'utf8')) as ConnectorConfig;
  const config = Object.fromEntries(
    Object.entries(template).flatMap(([name, text]) => {
      const filled = text.replaceAll(placeholder, found => values.get(found.slice(2, -1)) ?? '');
      return filled === '' ? [] : [[name, filled]];
    }),
  );
  return { ...config, ...checked(options.settings ?? {}) };
}

function valuesOf({ names, databaseUrl, passwordReference }: ConfigOptions): ReadonlyMap<string, string> {
  const url = new URL(databaseUrl);
  if (passwordReference !== null && !reference.test(passwordReference)) {
    throw bad(
      `expected a reference like \${file:/path/to/file.properties:password}, got a text of ${passwordReference.length} characters`,
      'Connect reads the password itself, through a config provider of its worker: it is never sent as text.',
    );
  }
  if (passwordReference === null && (url.password !== '' || url.searchParams.has('password'))) {
    throw bad(
      'the database asks for a password, and Connect is not told where to find it',
      'Name a properties file on the machine of Connect (--password-file), or another reference.',
    );
  }
  const values = new Map(
    Object.entries({
      FRESHET_DATABASE_HOST: url.hostname,
      FRESHET_DATABASE_PORT: url.port || DEFAULT_PORT,
      FRESHET_DATABASE_USER: decoded(url.username),
      FRESHET_DATABASE_NAME: decoded(url.pathname.slice(1)) || decoded(url.username),
      FRESHET_DATABASE_SSLMODE: sslMode(url.searchParams.get('sslmode')),
      FRESHET_PUBLICATION: names.publication,
      FRESHET_SLOT: names.slot,
      FRESHET_TOPIC_PREFIX: names.topicPrefix,
      FRESHET_TOPIC: names.topic,
      FRESHET_ROUTED_TOPICS: `${names.topicPrefix}\\..+`,
    }),
  );
  for (const [name, value] of values) {
    // Connect would put a secret of its own in its place.
    if (value.includes('${'))
      throw bad(`${name} must not hold a reference`, 'Check the URL of the database.');
  }
  return values.set('FRESHET_PASSWORD_REFERENCE', passwordReference ?? '');
}

/** A part of a URL as it is meant; one that is not encoded as it should be is taken as it stands. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Node's drivers know one more word than Java's. */
const sslMode = (set: string | null): string => (set === 'no-verify' ? 'require' : (set ?? 'prefer'));

function checked(settings: Readonly<Record<string, string>>): ConnectorConfig {
  for (const [name, value] of Object.entries(settings)) {
    if (!open.some(pattern => pattern.test(name))) {
      throw bad(
        `${name} cannot be set here: freshness may rest on it`,
        'What can be set, and why the others cannot: connectors/README.md.',
      );
    }
    // A JAAS configuration has a reference inside.
    if (isSecret.test(name) && !/\$\{[^{}]+:[^{}]+\}/.test(value))
      throw bad(
        `${name} is a secret: give a reference`,
        `As in ${passwordInFile('/path/to/file.properties')}.`,
      );
  }
  return settings;
}
