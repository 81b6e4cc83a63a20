import type { KafkaRecord } from '../../connectors/kafka-client.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { type EnvelopeCase, SCHEMA } from '../feeds/envelope-cases.ts';
import { openBothFeeds } from './both-feeds.ts';
import {
  changesOf,
  halved,
  type RecordedBy,
  type RecordedRecord,
  type Recording,
} from './envelope-recording.ts';

/** Records what cases become, one after the other on one database with a connector of its own. */
export interface Recorder {
  readonly common: RecordedBy;
  readonly tables: ReadonlyMap<string, TableShape>;
  record(one: EnvelopeCase): Promise<Recording>;
  close(): Promise<void>;
}

/** Over the servers of TEST_POSTGRES_URL and TEST_KAFKA_CHAIN_URL. */
export async function openRecorder(): Promise<Recorder> {
  const feeds = await openBothFeeds(SCHEMA, 1);
  const { topicPrefix, namespace, reference, tables } = feeds;
  return {
    common: { topicPrefix, namespace, reference: String(reference), tables: [...tables.values()] },
    tables,
    async record({ name, statements }) {
      const { items, records } = await feeds.run(statements);
      return {
        name,
        statements,
        records: records.map(toRecorded),
        changes: halved(changesOf(items), tables),
      };
    },
    close: () => feeds.close(),
  };
}

function toRecorded({ partition, offset, key, value, headers }: KafkaRecord): RecordedRecord {
  const text = (header: KafkaRecord['headers'][string]): string => String([header].flat()[0]);
  return {
    partition,
    offset,
    key: key?.toString() ?? null,
    value: value?.toString() ?? null,
    headers: Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, text(header)])),
  };
}
