import { ConnectClient } from '../../connectors/connect-client.ts';
import { kafkaOptions } from '../../connectors/kafka-options.ts';
import { kafkaNames } from '../../connectors/names.ts';
import type { ProcessSettings } from '../../shared/config.ts';
import { DebeziumSource } from './debezium-source.ts';
import { KafkaFeed } from './kafka-feed.ts';
import type { FeedSurroundings } from './open-feed.ts';

/** The feed through Debezium and Kafka, with the watch over its slot and connector. Not opened yet. */
export function kafkaFeedOf(settings: ProcessSettings, around: FeedSurroundings): KafkaFeed {
  const { worker, signal } = around;
  const names = kafkaNames(settings.namespace);
  const connect =
    settings.connectUrl === null ? null : new ConnectClient({ url: settings.connectUrl, signal });
  return new KafkaFeed({
    ...around,
    kafka: kafkaOptions(settings.kafkaBrokers!, settings, `freshet-${worker}`),
    names,
    source: new DebeziumSource({ ...around, names, connect }),
    beforeRecords: around.probe,
  });
}
