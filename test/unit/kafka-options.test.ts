import { describe, expect, test } from '@jest/globals';
import { kafkaOptions } from '../../connectors/kafka-options.ts';
import { readSettings } from '../../shared/config.ts';

const options = (env: Record<string, string>) => kafkaOptions('a:9092,b:9093', readSettings(env), 'me');

describe('how the brokers are reached', () => {
  test('is without encryption and without a name, unless something is set', () => {
    expect(options({})).toEqual({
      brokers: ['a:9092', 'b:9093'],
      clientId: 'me',
      isEncrypted: false,
      sasl: null,
    });
  });

  test('is over TLS where that is on', () => {
    expect(options({ FRESHET_KAFKA_TLS: 'on' })).toMatchObject({ isEncrypted: true });
  });

  test.each(['plain', 'scram-sha-256', 'scram-sha-512'])(
    'is with a password by %s, colons included',
    mechanism => {
      expect(options({ FRESHET_KAFKA_SASL: `${mechanism}:freshet:pass:word:` }).sasl).toEqual({
        mechanism,
        username: 'freshet',
        password: 'pass:word:',
      });
    },
  );

  test.each(['plain', 'plain:', 'plain:user', 'plain:user:', 'oauth:user:password', ':user:password'])(
    'is not understood of %s, and that is said without showing it',
    text => {
      expect(() => readSettings({ FRESHET_KAFKA_SASL: text })).toThrow(
        `FRESHET_KAFKA_SASL: expected mechanism:user:password, with plain, scram-sha-256 or scram-sha-512, got a text of ${text.length} characters`,
      );
    },
  );
});
