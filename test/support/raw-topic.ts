import kafkajs from 'kafkajs';
import { type KafkaRecord, partitionOfKey } from '../../connectors/kafka-client.ts';
import { eventually } from './eventually.ts';
import type { KafkaWorld } from './kafka-world.ts';
import { namespace } from './namespace.ts';

export type Offsets = ReadonlyMap<number, bigint>;

/** A world's topic, past the product: what lies in it, and what somebody else puts there. */
export interface RawTopic {
  /** Offsets that the next records will get. */
  ends(): Promise<Offsets>;
  /** How many records lie behind `since`. */
  grownBy(since: Offsets): Promise<number>;
  /** All records behind `since`, up to now. */
  readSince(since: Offsets): Promise<KafkaRecord[]>;
  /** Resolves with the offset that it got. */
  produce(partition: number, record: { key?: string | null; value: Buffer | string | null }): Promise<bigint>;
  /** Commits these offsets for the workers' group; it must have no member. */
  moveGroup(offsets: Offsets): Promise<void>;
  close(): Promise<void>;
}

export async function openRawTopic({ brokers, names }: KafkaWorld): Promise<RawTopic> {
  const kafka = new kafkajs.Kafka({
    brokers: brokers.split(','),
    clientId: 'raw',
    logLevel: kafkajs.logLevel.NOTHING,
  });
  const { topic, group: groupId } = names;
  const admin = kafka.admin();
  const producer = kafka.producer();
  await admin.connect();
  await producer.connect();

  const ends = async (): Promise<Offsets> => {
    const found = await admin.fetchTopicOffsets(topic);
    return new Map(found.map(({ partition, high }) => [partition, BigInt(high)]));
  };

  return {
    ends,
    async grownBy(since) {
      const now = await ends();
      return [...now].reduce((sum, [partition, end]) => sum + Number(end - (since.get(partition) ?? 0n)), 0);
    },
    async readSince(since) {
      const until = [...(await ends())].filter(([partition, end]) => end > (since.get(partition) ?? 0n));
      const records: KafkaRecord[] = [];
      const reached = new Map<number, bigint>();
      const consumer = kafka.consumer({ groupId: namespace() });
      consumer.on(consumer.events.GROUP_JOIN, () => {
        for (const [partition, offset] of since) consumer.seek({ topic, partition, offset: String(offset) });
      });
      try {
        await consumer.connect();
        await consumer.subscribe({ topics: [topic], fromBeginning: true });
        await consumer.run({
          autoCommit: false,
          eachBatch: async ({ batch: { partition, messages } }) => {
            for (const { offset, key, value, headers = {} } of messages) {
              if (BigInt(offset) < (since.get(partition) ?? 0n)) continue;
              records.push({ partition, offset, key, value, headers });
              reached.set(partition, BigInt(offset) + 1n);
            }
          },
        });
        await eventually(
          'the topic is read',
          () => until.filter(([partition, end]) => (reached.get(partition) ?? 0n) < end),
          missing => missing.length === 0,
          30_000,
        );
      } finally {
        await consumer.disconnect();
      }
      return records;
    },
    async produce(partition, { key = null, value }) {
      const [sent] = await producer.send({ topic, messages: [{ partition, key, value }] });
      return BigInt(sent!.baseOffset!);
    },
    async moveGroup(offsets) {
      const partitions = [...offsets].map(([partition, offset]) => ({ partition, offset: String(offset) }));
      await admin.setOffsets({ groupId, topic, partitions });
    },
    async close() {
      await Promise.allSettled([producer.disconnect(), admin.disconnect()]);
    },
  };
}

/** Where the connector puts a row `(id …)` with a whole number for its key. */
export const partitionOfRow = (id: number, partitions: number): number =>
  partitionOfKey(Buffer.from(JSON.stringify({ id })), partitions);

/** What of a row's event says which row it is, and what was done to it. */
export interface RowEvent {
  readonly op: string;
  readonly table: string;
  readonly txId: number | null;
  readonly lsn: number;
  readonly id: number | null;
  readonly partition: number;
}

/** Events of rows `(id …)`; messages and what is none of Debezium's are left out. */
export function rowEvents(records: readonly KafkaRecord[]): RowEvent[] {
  return records.flatMap(({ value, partition }) => {
    if (value === null) return [];
    const { op, source, before, after } = JSON.parse(value.toString()) as {
      op: string;
      source: { table: string; txId: number | null; lsn: number };
      before: { id?: number } | null;
      after: { id?: number } | null;
    };
    if (op === 'm') return [];
    const { table, txId, lsn } = source;
    return [{ op, table, txId, lsn, id: (after ?? before)?.id ?? null, partition }];
  });
}
