import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type ConfigOptions, connectorConfig, passwordInFile } from '../../connectors/connector-config.ts';
import { kafkaNames } from '../../connectors/names.ts';
import { LARGEST_MESSAGE_BYTES } from '../../connectors/topics.ts';

const template = JSON.parse(readFileSync('connectors/debezium.json', 'utf8')) as Record<string, string>;
const page = readFileSync('connectors/README.md', 'utf8');
const inFile = passwordInFile('/run/freshet/database.properties');

const config = (options: Partial<ConfigOptions> = {}) =>
  connectorConfig({
    names: kafkaNames(null),
    databaseUrl: 'postgres://connect:geheim@db.example:5433/shop',
    passwordReference: inFile,
    ...options,
  });
const refusal = (options: Partial<ConfigOptions>): string => {
  try {
    config(options);
  } catch (error) {
    const { code, message, hint } = error as { code: string; message: string; hint: string };
    return `${code}: ${message} ${hint}`;
  }
  return 'accepted';
};

describe('the settings of the connector', () => {
  test('every line of debezium.json has a line on the page, and the other way round', () => {
    const explained = [...page.matchAll(/^\| `([a-z][\w.]*)` \|/gim)].map(([, name]) => name);
    expect(explained.toSorted()).toEqual(Object.keys(template).toSorted());
  });

  test('is filled in for one installation, without a placeholder left', () => {
    const { settings } = { settings: config({ names: kafkaNames('shop') }) };
    expect(settings).toMatchObject({
      'database.hostname': 'db.example',
      'database.port': '5433',
      'database.user': 'connect',
      'database.dbname': 'shop',
      'database.sslmode': 'prefer',
      'slot.name': 'freshet_dbz_shop',
      'publication.name': 'freshet',
      'topic.prefix': 'freshet_shop',
      'transforms.route.replacement': 'freshet_shop.changes',
    });
    expect(JSON.stringify(settings)).not.toContain('FRESHET_');
    expect(Object.keys(settings)).toEqual(Object.keys(template));
  });

  test.each([
    ['freshet.public.users', true],
    ['freshet.message', true],
    ['freshet.billing.a.b', true],
    ['__debezium-heartbeat.freshet', false],
    ['freshet_shop.public.users', false],
    ['freshetXpublic.users', false],
  ])('%s is routed into the one topic: %s', (topic, isRouted) => {
    // RegexRouter matches whole names.
    expect(new RegExp(`^(?:${config()['transforms.route.regex']})$`).test(topic)).toBe(isRouted);
  });

  test('the heartbeat moves the slot on with a message that no list lets into the topic', () => {
    const [, prefix] = /pg_logical_emit_message\(false, '([^']+)'/.exec(config()['heartbeat.action.query']!)!;
    const listed = new RegExp(`^(?:${config()['message.prefix.include.list']})$`);
    expect(listed.test(prefix!)).toBe(false);
    expect(listed.test('freshet.beat.12')).toBe(true);
  });

  test('the producer sends what the topic takes', () => {
    expect(config()['producer.override.max.request.size']).toBe(String(LARGEST_MESSAGE_BYTES));
  });

  test.each([
    ['postgres://a:b@[::1]/d', { 'database.hostname': '[::1]', 'database.port': '5432' }],
    ['postgres://a:b@h/d%20e', { 'database.dbname': 'd e' }],
    ['postgres://us%40er:b@h', { 'database.user': 'us@er', 'database.dbname': 'us@er' }],
    ['postgres://a:b@h/d?sslmode=verify-full', { 'database.sslmode': 'verify-full' }],
    ['postgres://a:b@h/d?sslmode=no-verify', { 'database.sslmode': 'require' }],
  ])('reads %s', (databaseUrl, expected) => {
    expect(config({ databaseUrl })).toMatchObject(expected);
  });
});

describe('the password', () => {
  test('stands nowhere in what is posted: a reference does', () => {
    expect(JSON.stringify(config())).not.toContain('geheim');
    expect(config()['database.password']).toBe(`\${file:/run/freshet/database.properties:password}`);
    const variable = `\${env:CONNECT_PASSWORD}`;
    expect(config({ passwordReference: variable })['database.password']).toBe(variable);
  });

  test('is left out where the database asks for none', () => {
    const settings = config({ databaseUrl: 'postgres://connect@h/d', passwordReference: null });
    expect(settings).not.toHaveProperty('database.password');
  });

  test.each(['geheim', 'file:/a:password', `\${geheim}`, `\${file:/a:password} geheim`, ''])(
    'as text is refused, and not repeated: %j',
    passwordReference => {
      const said = refusal({ passwordReference });
      expect(said).toContain('bad-connector-settings: expected a reference');
      expect(said).not.toContain('geheim');
    },
  );

  test.each(['postgres://a:geheim@h/d', 'postgres://a@h/d?password=geheim'])(
    'in the URL needs a reference beside it: %s',
    databaseUrl => {
      const said = refusal({ databaseUrl, passwordReference: null });
      expect(said).toContain('Connect is not told where to find it');
      expect(said).not.toContain('geheim');
    },
  );

  test.each(['/a:b', '', '/a}'])('cannot be in a file called %j, which Connect would not find', path => {
    expect(() => passwordInFile(path)).toThrow('must have none of');
  });

  test('of somebody else is not fetched by a name in the URL', () => {
    expect(refusal({ databaseUrl: `postgres://a:b@h/\${file:x:y}` })).toContain('must not hold a reference');
    expect(refusal({ databaseUrl: 'postgres://%24%7Benv:HOME%7D:b@h/d' })).toContain(
      'must not hold a reference',
    );
  });
});

describe('further settings', () => {
  test.each([
    ['poll.interval.ms', '50'],
    ['max.queue.size', '100'],
    ['database.sslrootcert', '/certs/ca.pem'],
    ['producer.override.security.protocol', 'SASL_SSL'],
    ['producer.override.sasl.jaas.config', `x.PlainLoginModule required password="\${file:/p:k}";`],
    ['producer.override.max.request.size', '67108864'],
  ])('%s can be set', (name, value) => {
    expect(config({ settings: { [name]: value } })).toMatchObject({ [name]: value });
  });

  test.each([
    'snapshot.mode',
    'offset.mismatch.strategy',
    'skipped.operations',
    'table.include.list',
    'column.mask.with.3.chars',
    'transforms',
    'transforms.other.type',
    'errors.tolerance',
    'producer.override.acks',
    'producer.override.max.in.flight.requests.per.connection',
    'producer.override.compression.type',
    'database.password',
    'database.initial.statements',
    'slot.name',
  ])('%s cannot: freshness may rest on it', name => {
    expect(refusal({ settings: { [name]: 'x' } })).toContain(`${name} cannot be set here`);
  });

  test('a secret among them is a reference', () => {
    const jaas = { 'producer.override.sasl.jaas.config': 'x required password="geheim";' };
    expect(refusal({ settings: jaas })).toContain('is a secret');
    expect(refusal({ settings: jaas })).not.toContain('geheim');
    const store = { 'producer.override.ssl.truststore.password': 'geheim' };
    expect(refusal({ settings: store })).toContain('is a secret');
  });
});
