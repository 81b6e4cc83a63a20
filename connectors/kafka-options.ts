import type { Settings } from '../shared/config.ts';
import type { KafkaOptions } from './kafka-client.ts';

/** How the brokers are reached. `brokers`: as FRESHET_KAFKA_BROKERS takes them. */
export function kafkaOptions(
  brokers: string,
  { kafkaTls, kafkaSasl }: Pick<Settings, 'kafkaTls' | 'kafkaSasl'>,
  clientId: string,
): KafkaOptions {
  return {
    brokers: brokers.split(','),
    clientId,
    isEncrypted: kafkaTls === 'on',
    sasl: kafkaSasl === null ? null : saslOf(kafkaSasl),
  };
}

/** A password may hold colons, a user's name may not. */
function saslOf(text: string): NonNullable<KafkaOptions['sasl']> {
  const [mechanism, username, ...password] = text.split(':') as [
    'plain' | 'scram-sha-256' | 'scram-sha-512',
    string,
    ...string[],
  ];
  return { mechanism, username, password: password.join(':') };
}
