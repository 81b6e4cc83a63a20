import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import {
  readProcessSettings,
  readSettings,
  settingsTable,
  showSettings,
  toEnvironment,
  withoutPassword,
} from '../../shared/config.ts';
import { FreshetError } from '../../shared/errors.ts';
import { definitions } from '../../shared/settings.ts';

function refusal(env: Record<string, string>): string {
  try {
    readSettings(env);
  } catch (error) {
    expect(error).toBeInstanceOf(FreshetError);
    expect((error as FreshetError).code).toBe('bad-settings');
    return (error as FreshetError).message;
  }
  throw new Error('the settings were accepted');
}

describe('settings', () => {
  test('an empty environment gives the defaults', () => {
    expect(readSettings({ PATH: '/usr/bin' })).toEqual({
      apiHost: '127.0.0.1',
      apiPort: 3000,
      apiProcesses: 1,
      consoleHost: '127.0.0.1',
      consolePort: 3001,
      dataDir: '.freshet',
      configFile: null,
      databaseUrl: null,
      redisUrl: null,
      queueRedisUrl: null,
      feed: 'wal',
      workerProcesses: 1,
      maxStalenessMs: 1000,
      namespace: null,
      operatorToken: null,
      kafkaBrokers: null,
      connectUrl: null,
      kafkaPartitions: 4,
      kafkaTls: 'off',
      kafkaSasl: null,
    });
  });

  test('all problems come in one message', () => {
    const message = refusal({
      FRESHET_API_PORT: 'abc',
      FRESHET_API_PROCESSES: '0',
      FRESHET_MAX_STALENESS_MS: '1e3',
      DATABASE_URL: 'mysql://localhost/shop',
      FRESHET_FEDE: 'wal',
    });
    expect(message).toMatch(/^5 settings are wrong:/);
    expect(message).toContain('FRESHET_API_PORT: expected a port, 1 to 65535, got "abc"');
    expect(message).toContain('FRESHET_API_PROCESSES: expected a number of processes, 1 to 64, got "0"');
    expect(message).toContain('FRESHET_MAX_STALENESS_MS: expected milliseconds');
    expect(message).toContain('DATABASE_URL: expected a URL like postgres://');
    expect(message).toContain('FRESHET_FEDE is not a setting; did you mean FRESHET_FEED?');
  });

  test.each(['', '  '])('a name that is set to %j is an error, not "unset"', text => {
    expect(refusal({ REDIS_URL: text })).toContain('REDIS_URL is set but empty');
  });

  test.each(['65536', '0', '-1', '3000.5', '0x10', ' 3000', '+1'])('%j is no port', text => {
    expect(refusal({ FRESHET_API_PORT: text })).toContain('FRESHET_API_PORT');
  });

  test('an unknown name without a near miss is named alone', () => {
    expect(refusal({ FRESHET_SOMETHING_ELSE: '1' })).toBe('FRESHET_SOMETHING_ELSE is not a setting');
  });

  test('names that do not begin with FRESHET_ are none of our business', () => {
    expect(() => readSettings({ FRESHETTE: '1', PORT: 'x' })).not.toThrow();
  });

  test.each([
    ['redis://localhost:6379', 'redis://127.0.0.1'],
    ['redis://cache.example/0', 'redis://:secret@cache.example:6379/1'],
  ])('%s and %s are one server, and refused', (redis, queue) => {
    expect(refusal({ REDIS_URL: redis, QUEUE_REDIS_URL: queue })).toContain('lead to the same server');
  });

  test('two ports of one host are two servers', () => {
    const settings = readSettings({ REDIS_URL: 'redis://r:6379', QUEUE_REDIS_URL: 'redis://r:6380' });
    expect([settings.redisUrl, settings.queueRedisUrl]).toEqual(['redis://r:6379', 'redis://r:6380']);
  });

  test('one port for two listeners is refused', () => {
    expect(refusal({ FRESHET_API_PORT: '3001' })).toContain('both 3001');
  });

  test('a Connect without its brokers is refused for the kafka feed, and no matter for the other', () => {
    const env = { FRESHET_CONNECT_URL: 'http://connect.example:8083' };
    expect(refusal({ ...env, FRESHET_FEED: 'kafka' })).toContain('name the brokers of that Connect');
    expect(readSettings({ ...env, FRESHET_FEED: 'wal' }).connectUrl).toBe('http://connect.example:8083');
    expect(
      readSettings({
        ...env,
        FRESHET_FEED: 'kafka',
        FRESHET_KAFKA_BROKERS: 'k1.example:9092,k2.example:9092',
      }),
    ).toMatchObject({ feed: 'kafka', kafkaBrokers: 'k1.example:9092,k2.example:9092' });
  });

  test.each(['localhost', 'k:9092,', 'kafka://k:9092', 'k:9092 k:9093'])('%j is no list of brokers', text => {
    expect(refusal({ FRESHET_KAFKA_BROKERS: text })).toContain('a list like host:9092,host:9092');
  });

  test('a process must be told its stores', () => {
    expect(() => readProcessSettings({ DATABASE_URL: 'postgres://h/d' })).toThrow(
      /REDIS_URL is required[\s\S]*QUEUE_REDIS_URL is required/,
    );
  });

  test('a process that is fed by Kafka must be told the brokers, and need not know Connect', () => {
    const stores = {
      DATABASE_URL: 'postgres://h/d',
      REDIS_URL: 'redis://r:1',
      QUEUE_REDIS_URL: 'redis://r:2',
    };
    expect(() => readProcessSettings({ ...stores, FRESHET_FEED: 'kafka' })).toThrow(
      'FRESHET_KAFKA_BROKERS is required here: a list like host:9092,host:9092',
    );
    const settings = readProcessSettings({
      ...stores,
      FRESHET_FEED: 'kafka',
      FRESHET_KAFKA_BROKERS: 'k:9092',
    });
    expect([settings.kafkaBrokers, settings.connectUrl]).toEqual(['k:9092', null]);
    expect(readProcessSettings(stores).kafkaBrokers).toBeNull();
  });

  test('settings survive the way through an environment', () => {
    const settings = readSettings({
      FRESHET_API_PORT: '4000',
      REDIS_URL: 'redis://r:1',
      FRESHET_NAMESPACE: 'shop',
    });
    expect(readSettings(toEnvironment(settings))).toEqual(settings);
  });
});

describe('what people may see', () => {
  test.each([
    ['postgres://u:p@ss@h:5432/d', 'postgres://u:••••@h:5432/d'],
    ['redis://:pw@h:1/', 'redis://:••••@h:1/'],
    ['postgres://u@h/d?sslmode=require&password=pw', 'postgres://u@h/d?sslmode=require&password=••••'],
    ['postgres://u@h/d', 'postgres://u@h/d'],
  ])('%s is shown as %s', (url, shown) => {
    expect(withoutPassword(url)).toBe(shown);
  });

  test('each setting is shown with its source, and no secret', () => {
    const env = { DATABASE_URL: 'postgres://u:hidden@h/d', FRESHET_OPERATOR_TOKEN: 'hidden-hidden-hidden' };
    const shown = showSettings(readSettings(env), env, name =>
      name === 'DATABASE_URL' ? '.env' : 'environment',
    );
    expect(JSON.stringify(shown)).not.toContain('hidden');
    expect(shown).toContainEqual({ name: 'DATABASE_URL', value: 'postgres://u:••••@h/d', source: '.env' });
    expect(shown).toContainEqual({ name: 'FRESHET_OPERATOR_TOKEN', value: '••••', source: 'environment' });
    expect(shown).toContainEqual({ name: 'FRESHET_API_PORT', value: '3000', source: 'default' });
  });

  test('a secret that is refused is not printed either', () => {
    expect(refusal({ FRESHET_OPERATOR_TOKEN: 'short-secret' })).not.toContain('short-secret');
    expect(refusal({ DATABASE_URL: 'u:hidden@h' })).not.toContain('hidden');
  });
});

describe('the documentation of the settings', () => {
  const read = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  /** Cells of each line of a table: how wide a formatter makes them says nothing. */
  const cells = (table: string): string[] =>
    table.split('\n').map(line =>
      line
        .split('|')
        .map(cell => cell.trim().replace(/^-+$/, '-'))
        .join('|'),
    );

  test('docs/configuration.md holds the table of the schema', () => {
    const documented = cells(read('docs/configuration.md'));
    const expected = cells(settingsTable());
    const start = documented.indexOf(expected[0]!);
    expect(documented.slice(start, start + expected.length)).toEqual(expected);
  });

  test('.env.example names every setting', () => {
    const named = [...read('.env.example').matchAll(/^# ([A-Z_]+)=/gm)].map(([, name]) => name);
    expect(named.toSorted()).toEqual(
      Object.values(definitions)
        .map(({ env }) => env)
        .toSorted(),
    );
  });
});
