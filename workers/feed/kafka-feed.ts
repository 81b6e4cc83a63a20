import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { KafkaAdmin, type KafkaOptions, type KafkaRecord } from '../../connectors/kafka-client.ts';
import { KafkaConsumer, type OffsetSpan } from '../../connectors/kafka-consumer.ts';
import type { KafkaNames } from '../../connectors/names.ts';
import { FreshetError } from '../../shared/errors.ts';
import type { Observer } from '../../shared/observe.ts';
import { type DatabaseSystem, identifySystem } from '../../shared/origin/adopt.ts';
import type { Xid } from '../../shared/protocol/xid.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { GapError } from '../gap-error.ts';
import { beatPrefixes } from './beat-prefixes.ts';
import { DebeziumEnvelopes } from './debezium-envelope.ts';
import type { Feed, FeedItem, FeedPosition, Gap, Memory, Taken } from './feed.ts';
import { locate } from './kafka-position.ts';
import { OffsetCommits } from './offset-commits.ts';
import { RecordBuffer } from './record-buffer.ts';
import { watchTopic } from './topic-watch.ts';

/** What fills the topic, kept going by the worker that leads. */
export interface ChangeSource {
  /**
   * Makes the source one that brings every change from here on. Resolves with why changes may have been missed;
   * `doubt` was called before anything was done that could hide it.
   */
  ensure(doubt: () => Promise<void>): Promise<Gap | null>;
  /** Watches it until the answer is called; `onLost` once, when `ensure` has to be called again. */
  watch(onLost: (error: Error) => void): () => void;
}

export interface KafkaFeedOptions {
  readonly kafka: KafkaOptions;
  readonly names: KafkaNames;
  /** Of this installation: the beats of others are not ours. */
  readonly namespace: string;
  /** For questions about the database. */
  readonly pool: pg.Pool;
  readonly source: ChangeSource;
  readonly tables: () => ReadonlyMap<string, TableShape>;
  readonly reference: () => Xid;
  /** Called before the first record is looked at: this worker may have waited for weeks, and `reference` with it. */
  readonly beforeRecords: () => Promise<unknown>;
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

/** Records decoded for one round. */
const BATCH = 5_000;
const STANDBY_LOOK_MS = 1_000;
/** How long the last positions may take to reach a broker that hangs. */
const COMMIT_LIMIT_MS = 3_000;

/** What the group gave us; another object each time. */
interface Assignment {
  readonly partitions: readonly number[];
}

/** Through Debezium and Kafka: many workers share the partitions of one topic. */
export class KafkaFeed implements Feed {
  readonly name = 'kafka';
  readonly #options: KafkaFeedOptions;
  #partitions = 0;
  #prefixes: readonly string[] = [];
  #admin: KafkaAdmin | null = null;
  #consumer: KafkaConsumer | null = null;
  #assignment: Assignment | null = null;
  /** The assignment that `open` has told of. */
  #opened: Assignment | null = null;
  #envelopes: DebeziumEnvelopes;
  /** Of the records that are decoded now. */
  #receivedMs = 0;
  readonly #buffer: RecordBuffer;
  /** Where the partitions begin, not handed over yet. */
  #marks: FeedItem[] = [];
  #isStrayTold = false;
  #failure: Error | null = null;
  #wake: (() => void) | null = null;
  #system: DatabaseSystem | null = null;
  /** Offsets before which everything was settled once, by partition. */
  #settledBefore: ReadonlyMap<number, bigint> = new Map();
  readonly #commits = new OffsetCommits(error => {
    // While partitions move nothing can be committed; whoever has them then begins where they stand.
    const isMoving = error instanceof FreshetError && error.code === 'group-moved';
    if (!isMoving && this.#assignment === this.#opened) this.#fail(error);
  });
  #stopWatching: () => void = () => {};

  constructor(options: KafkaFeedOptions) {
    this.#options = options;
    this.#envelopes = new DebeziumEnvelopes({
      topic: options.names.topic,
      topicPrefix: options.names.topicPrefix,
      tables: options.tables,
      reference: options.reference,
      namespace: options.namespace,
      now: () => this.#receivedMs,
      settledBefore: partition => this.#settledBefore.get(partition) ?? 0n,
      onStrayBeat: ({ partition }, intended) => this.#tellOfStray(partition, intended),
    });
    this.#buffer = new RecordBuffer({
      pause: partitions => this.#consumer?.pause(partitions),
      resume: partitions => this.#consumer?.resume(partitions),
    });
  }

  get partitions(): number {
    return this.#partitions;
  }

  get beatPrefixes(): readonly string[] {
    return this.#prefixes;
  }

  recordOf(partition: number): string {
    return `${this.name}:${partition}`;
  }

  async open({ remembered, doubt }: Memory): Promise<Taken> {
    const { source, signal, observer, pool, beforeRecords } = this.#options;
    this.#stopWatching();
    await this.#join();
    let made: Gap | null = null;
    for (;;) {
      const assignment = await this.#given();
      signal.throwIfAborted();
      this.#failure = null;
      this.#opened = assignment;
      this.#system = await identifySystem(pool);
      const leads = assignment.partitions.includes(0);
      // What was made anew stays a gap, also where the partitions move on before it is told.
      if (leads) made = (await source.ensure(doubt)) ?? made;
      const { starts, positions, gap } = await locate({
        names: this.#options.names,
        admin: this.#admin!,
        system: this.#system,
        partitions: assignment.partitions,
        remembered,
      });
      await beforeRecords();
      if (assignment !== this.#assignment) continue;
      this.#settledBefore = settledOffsets((made ?? gap) ? [] : positions);
      this.#buffer.begin(starts);
      // All before it is settled, or covered by what closes the gap: remembered before anything else comes.
      this.#marks = [...starts].map(([partition, offset]) => markAt(partition, String(offset), Date.now()));
      for (const [partition, offset] of starts) this.#consumer!.start(partition, offset);
      this.#watch(leads);
      const position = [...starts].map(([partition, offset]) => `${partition}@${offset}`).join(' ');
      observer.emit({ type: 'feed.connected', feed: this.name, position });
      return { leads, positions, gap: merge(made, gap) };
    }
  }

  /** A member of the group, of a topic that is there. */
  async #join(): Promise<void> {
    if (this.#consumer) return;
    const { kafka, names } = this.#options;
    this.#admin ??= await KafkaAdmin.open(kafka);
    const partitions = await this.#admin.partitions(names.topic);
    if (partitions === null) {
      throw new FreshetError({
        code: 'topic-missing',
        message: `there is no topic ${names.topic}`,
        hint: '`freshet connector register` makes it, and the connector that fills it.',
        retryable: true,
      });
    }
    if (partitions !== this.#partitions) this.#prefixes = beatPrefixes(partitions);
    this.#partitions = partitions;
    this.#failure = null;
    this.#assignment = null;
    this.#opened = null;
    this.#consumer = await KafkaConsumer.join(kafka, {
      group: names.group,
      topic: names.topic,
      onAssigned: given => this.#assign(given),
      onRecords: (partition, records, span) => this.#receive(partition, records, span),
      onEnd: error => this.#fail(error),
    });
  }

  #assign(partitions: readonly number[]): void {
    this.#assignment = { partitions };
    this.#buffer.clear();
    this.#marks = [];
    this.#commits.clear();
    if (this.#opened) {
      this.#fail(
        new FreshetError({
          code: 'feed-moved',
          message: `the partitions of ${this.#options.names.topic} were handed out anew`,
          retryable: true,
        }),
      );
    }
    this.#wake?.();
  }

  /** Waits until there is something to follow: with more workers than partitions, some stand by. */
  async #given(): Promise<Assignment> {
    const { observer, signal } = this.#options;
    for (let isTold = false; ; isTold = true) {
      signal.throwIfAborted();
      if (this.#failure && !isMove(this.#failure)) throw this.#failure;
      const assignment = this.#assignment;
      if (assignment && assignment.partitions.length > 0) return assignment;
      if (!isTold) observer.emit({ type: 'feed.standby', feed: this.name, holder: null });
      await this.#arrival(STANDBY_LOOK_MS);
    }
  }

  #receive(partition: number, records: readonly KafkaRecord[], span: OffsetSpan): void {
    const lost = this.#buffer.add(partition, records, span);
    if (lost !== null) {
      const place = `${this.#options.names.topic}/${partition}`;
      this.#fail(new GapError({ cause: 'offset-out-of-range', detail: `${place}: ${lost}` }));
    }
    this.#wake?.();
  }

  async next(waitMs: number): Promise<FeedItem[]> {
    if (this.#buffer.isEmpty && this.#marks.length === 0 && !this.#failure) await this.#arrival(waitMs);
    const items = this.#marks;
    this.#marks = [];
    if (!this.#failure) {
      for (const { partition, records, receivedMs } of this.#buffer.take(BATCH)) {
        this.#receivedMs = receivedMs;
        // Decoded as late as can be: by the definitions that the round before has found.
        for (const record of records) for (const item of this.#envelopes.read(record)) items.push(item);
        const next = String(BigInt(records.at(-1)!.offset) + 1n);
        items.push({ kind: 'mark', partition, position: next, committedMs: newestCommit(items) });
      }
    }
    if (this.#failure) throw this.#failure;
    return items;
  }

  #arrival(waitMs: number): Promise<void> {
    return new Promise(resolve => {
      const done = (): void => {
        clearTimeout(timer);
        this.#options.signal.removeEventListener('abort', done);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.#options.signal.addEventListener('abort', done, { once: true });
      this.#wake = done;
    });
  }

  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /**
   * A producer that has not heard yet, or has heard already, how many partitions there are: the beat proves nothing,
   * its number is missing where it was meant to be, and the topic is looked at all the time.
   */
  #tellOfStray(partition: number, intended: number): void {
    if (this.#isStrayTold) return;
    this.#isStrayTold = true;
    this.#options.observer.emit({
      type: 'note',
      level: 'warn',
      text: `a beat meant for partition ${intended} of ${this.#options.names.topic} came in partition ${partition}: nothing is proven while that is so`,
    });
  }

  positionOf(_partition: number, settled: string): FeedPosition {
    const { id, timeline } = this.#system!;
    return { system: id, timeline: String(timeline), topic: this.#options.names.topic, offset: settled };
  }

  acknowledge(partition: number, settled: string): void {
    // A member of the group may commit for any partition: one that has moved is not ours to commit for.
    const isOurs = this.#assignment === this.#opened && this.#opened?.partitions.includes(partition);
    if (this.#consumer && isOurs) this.#commits.add(this.#consumer, partition, settled);
  }

  #fail(error: Error): void {
    // A gap outweighs what else goes wrong meanwhile, and anything outweighs a move.
    const outweighs = error instanceof GapError && !(this.#failure instanceof GapError);
    if (!this.#failure || outweighs || (isMove(this.#failure) && !isMove(error))) this.#failure = error;
    this.#wake?.();
  }

  #watch(leads: boolean): void {
    const stopSource = leads ? this.#options.source.watch(error => this.#fail(error)) : () => {};
    const over = new AbortController();
    this.#stopWatching = () => {
      stopSource();
      over.abort();
      this.#stopWatching = () => {};
    };
    const watching = watchTopic({
      admin: this.#admin!,
      topic: this.#options.names.topic,
      partitions: this.#partitions,
      buffer: this.#buffer,
      signal: over.signal,
    });
    void watching.then(wrong => wrong && this.#fail(wrong));
  }

  async close(): Promise<void> {
    this.#stopWatching();
    await Promise.race([this.#commits.sent(), delay(COMMIT_LIMIT_MS, undefined, { ref: false })]);
    const consumer = this.#consumer;
    const admin = this.#admin;
    this.#consumer = null;
    this.#admin = null;
    this.#assignment = null;
    this.#opened = null;
    this.#buffer.clear();
    this.#commits.clear();
    await Promise.all([consumer?.close(), admin?.close()]);
  }
}

const markAt = (partition: number, position: string, committedMs: number): FeedItem => ({
  kind: 'mark',
  partition,
  position,
  committedMs,
});

const isMove = (error: Error): boolean => error instanceof FreshetError && error.code === 'feed-moved';

/** A source that had to be made anew says more than the offsets that were left of the one before. */
const merge = (made: Gap | null, located: Gap | null): Gap | null =>
  made && located?.cause === 'first-start' ? located : (made ?? located);

function settledOffsets(positions: Iterable<readonly [number, FeedPosition | null]>): Map<number, bigint> {
  const known = [...positions].flatMap(([partition, position]) =>
    position?.offset === undefined ? [] : [[partition, BigInt(position.offset)] as const],
  );
  return new Map(known);
}

const newestCommit = (items: readonly FeedItem[]): number => {
  const last = items.findLast(item => item.kind === 'change');
  return last?.kind === 'change' ? last.change.committedMs : Date.now();
};
