import { z } from 'zod';

/** Every setting, declared once: what reads it, what checks it and what documents it are made from this table. */
export interface Definition<T> {
  readonly env: string;
  readonly value: z.ZodType<T, string>;
  /** What a good value is, in words: for messages and for the documentation. */
  readonly expected: string;
  readonly fallback: T;
  /** How the fallback reads in the documentation. */
  readonly shown: string;
  readonly about: string;
  /** How much of it people may see: nothing of it, or all but the password of a URL. */
  readonly secret?: 'whole' | 'url';
}

const define = <T>(definition: Definition<T>): Definition<T> => definition;

const wholeNumber = (from: number, to: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .refine(number => number >= from && number <= to);

const urlWith = (...protocols: readonly string[]) =>
  z
    .string()
    .refine(text => protocols.includes(URL.parse(text)?.protocol ?? '') && URL.parse(text)?.hostname !== '');

const address = {
  value: z.union([z.ipv4(), z.ipv6(), z.literal('localhost')]),
  expected: 'an IP address, or localhost',
  fallback: '127.0.0.1',
  shown: '127.0.0.1',
};
const port = { value: wholeNumber(1, 65_535), expected: 'a port, 1 to 65535' };
const postgresUrl = {
  value: urlWith('postgres:', 'postgresql:'),
  expected: 'a URL like postgres://user:password@host:5432/database',
};
const redisUrl = { value: urlWith('redis:', 'rediss:'), expected: 'a URL like redis://host:6379' };

export const definitions = {
  apiHost: define({
    env: 'FRESHET_API_HOST',
    ...address,
    about: 'Address the API listens on; 0.0.0.0 for all.',
  }),
  apiPort: define({
    env: 'FRESHET_API_PORT',
    ...port,
    fallback: 3000,
    shown: '3000',
    about: 'Port of the API.',
  }),
  apiProcesses: define({
    env: 'FRESHET_API_PROCESSES',
    value: wholeNumber(1, 64),
    expected: 'a number of processes, 1 to 64',
    fallback: 1,
    shown: '1',
    about: 'How many processes share the port of the API.',
  }),
  consolePort: define({
    env: 'FRESHET_CONSOLE_PORT',
    ...port,
    fallback: 3001,
    shown: '3001',
    about: 'Port of the console: metrics of the API processes, and the queues.',
  }),
  consoleHost: define({
    env: 'FRESHET_CONSOLE_HOST',
    ...address,
    about: 'Address the console listens on. Beyond loopback it asks for FRESHET_OPERATOR_TOKEN.',
  }),
  dataDir: define({
    env: 'FRESHET_DATA_DIR',
    value: z.string(),
    expected: 'a folder',
    fallback: '.freshet',
    shown: '.freshet',
    about: 'Folder of the local servers: their data, their logs, and `run.json` while they run.',
  }),
  configFile: define<string | null>({
    env: 'FRESHET_CONFIG',
    value: z.string(),
    expected: 'a file, or none',
    fallback: null,
    shown: 'freshet.config.ts, where it exists',
    about:
      'File that declares the resources. Without one (and with `none`), every table of `public` with a primary key is served read-only.',
  }),
  databaseUrl: define<string | null>({
    env: 'DATABASE_URL',
    ...postgresUrl,
    fallback: null,
    shown: 'a local Postgres is started',
    about:
      'The Postgres database to serve. In a database of your own nothing is changed without being asked.',
    secret: 'url',
  }),
  redisUrl: define<string | null>({
    env: 'REDIS_URL',
    ...redisUrl,
    fallback: null,
    shown: 'a local Redis is started',
    about: 'The Redis that holds the cache: it may evict, and needs no persistence.',
    secret: 'url',
  }),
  queueRedisUrl: define<string | null>({
    env: 'QUEUE_REDIS_URL',
    ...redisUrl,
    fallback: null,
    shown: 'a local Redis is started',
    about:
      'The Redis that holds the job queues: another server than REDIS_URL, with `maxmemory-policy noeviction`.',
    secret: 'url',
  }),
  feed: define<'wal' | 'kafka'>({
    env: 'FRESHET_FEED',
    value: z.enum(['wal', 'kafka']),
    expected: 'wal or kafka',
    fallback: 'wal',
    shown: 'wal',
    about:
      'Where changes come from: `wal`, straight from the write-ahead log, or `kafka`, by Debezium through Kafka, which `npm run start:kafka` starts locally.',
  }),
  workerProcesses: define({
    env: 'FRESHET_WORKER_PROCESSES',
    value: wholeNumber(1, 16),
    expected: 'a number of processes, 1 to 16',
    fallback: 1,
    shown: '1',
    about:
      'How many workers `freshet up` starts. With the `kafka` feed they share the partitions; with `wal` one works, and the others stand by.',
  }),
  maxStalenessMs: define({
    env: 'FRESHET_MAX_STALENESS_MS',
    value: wholeNumber(50, 3_600_000),
    expected: 'milliseconds, 50 to 3600000',
    fallback: 1000,
    shown: '1000',
    about:
      'How old the proof of freshness may be, in milliseconds, before reads ask Postgres instead of trusting the cache.',
  }),
  namespace: define<string | null>({
    env: 'FRESHET_NAMESPACE',
    value: z.string().regex(/^[a-z0-9_]{1,40}$/),
    expected: 'up to 40 of a-z, 0-9 and _',
    fallback: null,
    shown: 'made from the id of the database',
    about:
      'Name of this installation: keys in both Redis servers begin with `freshet:<name>`, and the slot is called `freshet_wal_<name>` or `freshet_dbz_<name>` (without the name unless set: a second database of one Postgres needs one). With the `kafka` feed connector, topic and consumer group carry it too.',
  }),
  operatorToken: define<string | null>({
    env: 'FRESHET_OPERATOR_TOKEN',
    value: z.string().min(16),
    expected: 'a secret of at least 16 characters',
    fallback: null,
    shown: 'none: the console is read-only',
    about: 'Whoever sends it (`Authorization: Bearer …`) may act on the console and on the queues.',
    secret: 'whole',
  }),
  kafkaBrokers: define<string | null>({
    env: 'FRESHET_KAFKA_BROKERS',
    value: z.string().regex(/^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$/),
    expected: 'a list like host:9092,host:9092',
    fallback: null,
    shown: 'a local broker is started for the `kafka` feed',
    about: 'Brokers of the `kafka` feed.',
  }),
  kafkaTls: define<'on' | 'off'>({
    env: 'FRESHET_KAFKA_TLS',
    value: z.enum(['on', 'off']),
    expected: 'on or off',
    fallback: 'off',
    shown: 'off',
    about:
      'Whether the brokers are spoken to over TLS. Certificates of an authority of your own: Node takes them from the file that `NODE_EXTRA_CA_CERTS` names.',
  }),
  kafkaSasl: define<string | null>({
    env: 'FRESHET_KAFKA_SASL',
    value: z.string().regex(/^(plain|scram-sha-256|scram-sha-512):[^:]+:.+$/s),
    expected: 'mechanism:user:password, with plain, scram-sha-256 or scram-sha-512',
    fallback: null,
    shown: 'none: the brokers are not told who asks',
    about: 'As whom the brokers know the workers and `freshet connector`.',
    secret: 'whole',
  }),
  connectUrl: define<string | null>({
    env: 'FRESHET_CONNECT_URL',
    value: urlWith('http:', 'https:'),
    expected: 'a URL like http://host:8083',
    fallback: null,
    shown: 'a local one is started beside a local broker',
    about:
      'Kafka Connect that runs the connector of the `kafka` feed. The workers watch it there and restart what fails; beside brokers of your own and without this address, nobody does.',
    secret: 'url',
  }),
  kafkaPartitions: define({
    env: 'FRESHET_KAFKA_PARTITIONS',
    value: wholeNumber(1, 64),
    expected: 'a number of partitions, 1 to 64',
    fallback: 4,
    shown: '4',
    about:
      'Partitions of the topic of the `kafka` feed: so many workers can share the work. Fixed when the topic is made; a start with another number is refused, because rows would change their partition, and their changes their order.',
  }),
} as const;

type Definitions = typeof definitions;
export type SettingName = keyof Definitions;
export type Settings = {
  readonly [K in SettingName]: Definitions[K] extends Definition<infer T> ? T : never;
};
