/** What one installation is called in Postgres, in Kafka and in Kafka Connect. */
export interface KafkaNames {
  readonly connector: string;
  /** Debezium's `topic.prefix`: the name that its events and its offsets carry. */
  readonly topicPrefix: string;
  /** Every change, message and beat of the connector. */
  readonly topic: string;
  readonly heartbeatTopic: string;
  /** Consumer group of the workers. */
  readonly group: string;
  readonly slot: string;
  readonly publication: string;
}

const PUBLICATION = 'freshet';

/**
 * Names that installations on one Postgres, one Kafka and one Connect do not share. `namespace` is the setting
 * FRESHET_NAMESPACE, at most 40 of a-z, 0-9 and _: a slot's name may have 63 characters.
 */
export function kafkaNames(namespace: string | null): KafkaNames {
  const [underscored, hyphened] = namespace === null ? ['', ''] : [`_${namespace}`, `-${namespace}`];
  const prefix = `freshet${underscored}`;
  return {
    connector: prefix,
    topicPrefix: prefix,
    topic: `${prefix}.changes`,
    heartbeatTopic: `__debezium-heartbeat.${prefix}`,
    group: `freshet-workers${hyphened}`,
    slot: `freshet_dbz${underscored}`,
    publication: PUBLICATION,
  };
}
