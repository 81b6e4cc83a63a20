/**
 * The least that a consumer can do: kafkajs and a callback that looks at the time. What this takes, no feed through
 * Kafka can go below. A process of its own, told over IPC what to read.
 */
import kafkajs from 'kafkajs';
// Tames the timer of kafkajs in every process that loads it, and this one is to have the client as the worker has it.
import '../connectors/kafka-client.ts';

interface Place {
  readonly brokers: string;
  readonly topic: string;
  readonly group: string;
  /** Where each partition is read from. */
  readonly from: readonly (readonly [partition: number, offset: string])[];
}

/** Answered when the consumer has joined its group. */
export interface ListenJob extends Place {
  readonly kind: 'listen';
}

/** Answered when `rows` changes of the table have come since `listen`; the consumer leaves. */
export interface HeardJob {
  readonly kind: 'heard';
  readonly table: string;
  readonly rows: number;
}

/** Answered when `records` records have been read. */
export interface DrainJob extends Place {
  readonly kind: 'drain';
  readonly records: number;
}

/** One change, with the times of its way. All but the first by the clock on the wall, in milliseconds. */
export interface Heard {
  readonly id: number;
  /** By the machine's monotonic clock, which all its processes share. */
  readonly monotonicMs: number;
  /** Postgres wrote the commit record. */
  readonly committedMs: number;
  /** Debezium has made an event of it. */
  readonly decodedMs: number;
  /** Kafka's producer took it. Whole milliseconds. */
  readonly sentMs: number;
  /** The callback was called. */
  readonly calledMs: number;
}

export interface Drained {
  /** From the first callback on. */
  readonly tookMs: number;
  /** What came after it. */
  readonly records: number;
  readonly cpuMs: number;
}

interface Envelope {
  readonly op: string;
  readonly after: { readonly id: number };
  readonly source: { readonly table: string; readonly ts_us: number };
  readonly ts_us: number;
}

interface Batch {
  readonly monotonicMs: number;
  readonly calledMs: number;
  readonly messages: readonly kafkajs.KafkaMessage[];
}

/** As the worker fetches. */
const FETCH = {
  minBytes: 1,
  maxWaitTimeInMs: 250,
  maxBytesPerPartition: 2 * 1024 * 1024,
  maxBytes: 16 * 1024 * 1024,
} as const;
const HEARD_WITHIN_MS = 60_000;

async function read(place: Place, onBatch: (batch: Batch) => void): Promise<kafkajs.Consumer> {
  const { brokers, topic, group, from } = place;
  const kafka = new kafkajs.Kafka({
    brokers: brokers.split(','),
    clientId: 'bench',
    logLevel: kafkajs.logLevel.NOTHING,
  });
  const consumer = kafka.consumer({ groupId: group, ...FETCH });
  const starts = new Map(from.map(([partition, offset]) => [partition, BigInt(offset)]));
  const joined = new Promise(resolve => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset }) => {
      const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
      const calledMs = performance.timeOrigin + performance.now();
      const start = starts.get(batch.partition) ?? 0n;
      const isThere = BigInt(batch.firstOffset() ?? 0) >= start;
      const messages = isThere
        ? batch.messages
        : batch.messages.filter(({ offset }) => BigInt(offset) >= start);
      onBatch({ monotonicMs, calledMs, messages });
      resolveOffset(batch.lastOffset());
    },
  });
  for (const [partition, offset] of from) consumer.seek({ topic, partition, offset });
  await joined;
  return consumer;
}

let listening: { readonly consumer: kafkajs.Consumer; readonly batches: Batch[] } | null = null;
let onCame = (): void => {};

async function listen(job: ListenJob): Promise<null> {
  const batches: Batch[] = [];
  const consumer = await read(job, batch => {
    batches.push(batch);
    onCame();
  });
  listening = { consumer, batches };
  return null;
}

async function heard({ table, rows }: HeardJob): Promise<readonly Heard[]> {
  const { consumer, batches } = listening!;
  const found: Heard[] = [];
  const look = (): boolean => {
    for (const { monotonicMs, calledMs, messages } of batches.splice(0)) {
      for (const { value, timestamp } of messages) {
        const { op, after, source, ts_us } = JSON.parse(value!.toString()) as Envelope;
        if (op !== 'u' || source.table !== table) continue;
        const { id } = after;
        const sentMs = Number(timestamp);
        const committedMs = source.ts_us / 1e3;
        found.push({ id, monotonicMs, committedMs, decodedMs: ts_us / 1e3, sentMs, calledMs });
      }
    }
    return found.length >= rows;
  };
  await new Promise<void>((resolve, reject) => {
    const late = (): void =>
      reject(new Error(`${found.length} of ${rows} changes came within ${HEARD_WITHIN_MS} ms`));
    const timer = setTimeout(late, HEARD_WITHIN_MS);
    onCame = () => {
      if (!look()) return;
      clearTimeout(timer);
      onCame = () => {};
      resolve();
    };
    onCame();
  });
  await consumer.disconnect();
  return found;
}

async function drain(job: DrainJob): Promise<Drained> {
  let first: { readonly atMs: number; readonly cpu: NodeJS.CpuUsage; readonly records: number } | null = null;
  let records = 0;
  const { promise: drained, resolve } = Promise.withResolvers<Drained>();
  const consumer = await read(job, ({ messages }) => {
    records += messages.length;
    first ??= { atMs: performance.now(), cpu: process.cpuUsage(), records };
    if (records < job.records) return;
    const { user, system } = process.cpuUsage(first.cpu);
    resolve({
      tookMs: performance.now() - first.atMs,
      records: records - first.records,
      cpuMs: (user + system) / 1e3,
    });
  });
  await drained;
  await consumer.disconnect();
  return drained;
}

process.on('message', (job: ListenJob | HeardJob | DrainJob) => {
  const work: Promise<unknown> =
    job.kind === 'listen' ? listen(job) : job.kind === 'heard' ? heard(job) : drain(job);
  work.then(
    result => process.send!({ result }),
    (error: Error) => process.send!({ error: error.message }),
  );
});
for (const event of ['SIGTERM', 'disconnect']) process.on(event, () => process.exit(0));
process.send!({ type: 'ready' });
