import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { FreshetError } from '../errors.ts';
import type { EventOutcome, FillRefusal } from '../observe.ts';
import { type Entry, type EntryMeta, metaText, parseMeta, type Slot } from '../protocol/entry.ts';
import type { Xid } from '../protocol/xid.ts';
import { type Keys, type RowTag, tagOfRecord } from '../resources/keys.ts';
import type { CacheConnection } from './connection.ts';
import {
  bumpFields,
  CLOSED,
  parseControl,
  TABLE_FIELD,
  tableControl,
  tableFields,
} from './control-record.ts';
import { FeedPositions } from './feed-positions.ts';
import type { Control, LeaseAnswer, ProcessRecord, RowRead, Standing, TableState } from './records.ts';

export type {
  Control,
  LeaseAnswer,
  ProcessRecord,
  ProcessReport,
  RowRead,
  Standing,
  TableState,
} from './records.ts';

interface PendingRead {
  readonly slot: Slot;
  readonly resolve: (read: RowRead) => void;
  readonly reject: (error: unknown) => void;
}

const PROCESS_FRESH_MS = 5_000;
const BEAT_KEPT_MS = 60_000;
/** Commands in flight of one EVENT pipeline: bounds memory and the time a hung server can hide. */
export const EVENTS_PER_ROUND = 2_000;

/**
 * The records of the cache Redis, and the decisions about them. The only user of the connection.
 * Reads of one turn of the event loop travel together, with one look at `control` for all of them.
 */
export class CacheStore {
  readonly connection: CacheConnection;
  readonly keys: Keys;
  readonly positions: FeedPositions;
  readonly #clock: Clock;
  #pending: PendingRead[] = [];

  constructor(connection: CacheConnection, keys: Keys, clock: Clock) {
    this.connection = connection;
    this.keys = keys;
    this.positions = new FeedPositions(connection, keys);
    this.#clock = clock;
  }

  /** READ: the entry of a slot together with today's control, in one round trip shared with its neighbours. */
  readRow(slot: Slot): Promise<RowRead> {
    return new Promise((resolve, reject) => {
      if (this.#pending.push({ slot, resolve, reject }) === 1) setImmediate(() => this.#flushReads());
    });
  }

  async #flushReads(): Promise<void> {
    const reads = this.#pending;
    this.#pending = [];
    const tables = [...new Set(reads.map(read => read.slot.table))];
    const sentAtMs = this.#clock.monotonicMs();
    try {
      const replies = await this.connection.readHashes([
        [this.keys.control, 'incarnation', 'epoch', ...tables.map(table => TABLE_FIELD + table)],
        ...reads.map(({ slot }) => [this.keys.row(slot.tag), `b:${slot.rep}`, `m:${slot.rep}`] as const),
      ]);
      const [incarnation, epoch, ...states] = replies[0]!.map(text =>
        text === null ? null : text.toString(),
      );
      const controls = new Map(
        tables.map((table, i) => [table, tableControl(incarnation!, epoch!, states[i]!)]),
      );
      reads.forEach((read, i) => {
        const [body, meta] = replies[i + 1]!;
        read.resolve({ entry: entryOf(body!, meta!), control: controls.get(read.slot.table)!, sentAtMs });
      });
    } catch (error) {
      for (const read of reads) read.reject(error);
    }
  }

  /** LEASE: the right to fill `slot` with an entry made under `stamp`. `judged`: an entry the caller found wanting. */
  async lease(slot: Slot, stamp: string, leaseMs: number, judged: string | null): Promise<LeaseAnswer> {
    const token = randomUUID();
    const [kind, first, second] = (await this.connection.runForBuffers(
      'lease',
      this.keys.row(slot.tag),
      slot.rep,
      stamp,
      token,
      leaseMs,
      judged ?? '',
    )) as [Buffer, Buffer | number, Buffer];
    if (kind.equals(WAIT)) return { kind: 'wait', forMs: Number(first) };
    if (kind.equals(PRESENT)) {
      const entry = entryOf(first as Buffer, second);
      if (entry) return { kind: 'present', entry };
      throw new FreshetError({
        code: 'bad-entry',
        message: `the entry of ${slot.tag} is not one this version wrote`,
      });
    }
    return { kind: 'granted', token, nowMs: Number(first) };
  }

  /** FILL: stores an entry if the lease `token` still stands and `snapshot` saw every change noted since. */
  async fill(
    slot: Slot,
    token: string,
    snapshot: string,
    body: Buffer,
    meta: EntryMeta,
    ttlMs: number,
  ): Promise<'stored' | Exclude<FillRefusal, 'older_epoch'>> {
    const key = this.keys.row(slot.tag);
    const text = metaText(meta);
    return (await this.connection.run('fill', key, slot.rep, token, snapshot, body, text, ttlMs)) as 'stored';
  }

  /** Gives a lease back that is not going to be used. Best effort: it ends by itself as well. */
  async release(slot: Slot, token: string): Promise<void> {
    await this.connection.run('release', this.keys.row(slot.tag), slot.rep, token).catch(() => {});
  }

  /** EVENT of one row: every representation drops what did not see these transactions. */
  async event(tag: RowTag, xids: readonly Xid[]): Promise<EventOutcome> {
    return (await this.connection.run('event', this.keys.row(tag), ...xids.map(String))) as EventOutcome;
  }

  /** EVENT of many rows, in bounded rounds; outcomes in the order of `events`. Resolves when all have replied. */
  async events(
    events: readonly { readonly tag: RowTag; readonly xids: readonly Xid[] }[],
  ): Promise<EventOutcome[]> {
    const outcomes: EventOutcome[] = [];
    for (let start = 0; start < events.length; start += EVENTS_PER_ROUND) {
      const round = events.slice(start, start + EVENTS_PER_ROUND);
      const calls = round.map(({ tag, xids }) => [this.keys.row(tag), ...xids.map(String)] as const);
      outcomes.push(...((await this.connection.runMany('event', calls)) as EventOutcome[]));
    }
    return outcomes;
  }

  /** Forgets a row altogether, lease included: the same as an eviction, and as safe. Whether there was a record. */
  async deleteRecord(tag: RowTag): Promise<boolean> {
    return (await this.connection.call('UNLINK', this.keys.row(tag))) === 1;
  }

  /** Null when there is no epoch, which makes everything unservable. */
  async control(): Promise<Control | null> {
    const flat = (await this.connection.call('HGETALL', this.keys.control)) as string[];
    return parseControl(flat);
  }

  /** The epoch and whether it is closed: what is compared before an echo is sent. Null when there is none. */
  async standing(): Promise<Standing | null> {
    const [epoch, closed, incarnation] = (await this.connection.call(
      'HMGET',
      this.keys.control,
      'epoch',
      CLOSED,
      'incarnation',
    )) as (string | null)[];
    return epoch ? { epoch, isClosed: closed === epoch, incarnation: incarnation ?? '' } : null;
  }

  /**
   * A new epoch; everything cached before is a miss. Returns it.
   * `incarnation` null leaves the one that stands (an operator's order; the worker closes the gap that this is).
   */
  async newEpoch(incarnation: string | null, tables: readonly TableState[]): Promise<string> {
    const epoch = randomUUID();
    await this.#raiseEpoch(epoch, incarnation ?? '', '', tables.flatMap(tableFields));
    return epoch;
  }

  /**
   * The epoch that closes a gap: every transaction that the gap may have hidden has ended and is visible. Returns it,
   * or null when `opened`, which the gap began with, no longer stands, or another worker leads.
   */
  async closeEpoch(
    opened: string,
    incarnation: string,
    tables: readonly TableState[],
    worker: string,
  ): Promise<string | null> {
    const epoch = randomUUID();
    const fields = [CLOSED, epoch, ...tables.flatMap(tableFields)];
    return (await this.#raiseEpoch(epoch, incarnation, `${opened} ${worker}`, fields)) ? epoch : null;
  }

  async #raiseEpoch(
    epoch: string,
    incarnation: string,
    expected: string,
    fields: readonly string[],
  ): Promise<boolean> {
    const { runId } = this.connection;
    if (runId === null)
      throw new FreshetError({
        code: 'cache-unavailable',
        message: 'the cache Redis is not connected',
        retryable: true,
      });
    const { control } = this.keys;
    const answer = await this.connection.run(
      'epoch',
      control,
      epoch,
      runId,
      incarnation,
      expected,
      ...fields,
    );
    if (answer !== 'other_run') return answer === 'raised';
    this.connection.renew();
    throw new FreshetError({
      code: 'cache-replaced',
      message: 'the cache Redis was replaced by another server while a new epoch was being made',
      retryable: true,
    });
  }

  /** Says who follows the database from now on: generations of whoever did before are refused. */
  async claim(worker: string): Promise<void> {
    await this.connection.call('HSET', this.keys.control, 'worker', worker);
  }

  /** The same where nobody does; whoever follows already goes on. */
  async claimIfFree(worker: string): Promise<void> {
    await this.connection.call('HSETNX', this.keys.control, 'worker', worker);
  }

  /** New generations under `epoch`; false when it no longer stands, which is a gap, or when `worker` was replaced. */
  async raiseGenerations(epoch: string, tables: readonly TableState[], worker: string): Promise<boolean> {
    if (tables.length === 0) return true;
    const under = `${epoch} ${worker}`;
    const answer = await this.connection.run(
      'generation',
      this.keys.control,
      under,
      ...tables.flatMap(tableFields),
    );
    return answer === 'raised';
  }

  /** New generations of tables whose rows are in doubt, cacheable or not as before; false when `epoch` no longer stands. */
  async bumpGenerations(epoch: string, tables: readonly string[]): Promise<boolean> {
    const pairs = tables.flatMap(bumpFields);
    return (await this.connection.run('generation', this.keys.control, epoch, ...pairs)) === 'raised';
  }

  /** Leaves a nonce for the next beat. */
  async leaveNonce(process: string, nonce: string): Promise<void> {
    await this.connection.call('HSET', this.keys.nonces, process, nonce);
  }

  /** All nonces left since the last beat. */
  async takeNonces(): Promise<string[]> {
    const flat = (await this.connection.run('take-nonces', this.keys.nonces)) as string[];
    return flat.filter((_, i) => i % 2 === 1);
  }

  /** Keeps the nonces of a beat until it is settled everywhere. */
  async noteBeat(writer: string, number: number, nonces: readonly string[]): Promise<void> {
    const key = this.keys.beat(writer);
    await this.connection.call('HSET', key, `n:${number}`, nonces.join(' '));
    // A writer that ends before its beats are settled leaves nothing behind.
    await this.connection.call('PEXPIRE', key, BEAT_KEPT_MS);
  }

  /** A beat is settled on one of `partitions` partitions; on the last of them its nonces are published. */
  async echo(writer: string, partition: number, number: number, partitions: number): Promise<number> {
    const key = this.keys.beat(writer);
    return Number(await this.connection.run('echo', key, partition, number, partitions, this.keys.echo));
  }

  async reportProcess(record: ProcessRecord): Promise<void> {
    await this.connection.call('HSET', this.keys.processes, record.id, JSON.stringify(record));
  }

  async forgetProcess(id: string): Promise<void> {
    await this.connection.call('HDEL', this.keys.processes, id);
  }

  /** Processes that reported within the last five seconds; older ones are forgotten on the way. */
  async processes(): Promise<ProcessRecord[]> {
    const flat = (await this.connection.call('HGETALL', this.keys.processes)) as string[];
    const records = flat.filter((_, i) => i % 2 === 1).map(text => JSON.parse(text) as ProcessRecord);
    const [alive, gone] = [[], []] as [ProcessRecord[], ProcessRecord[]];
    for (const record of records)
      (this.#clock.wallMs() - record.at < PROCESS_FRESH_MS ? alive : gone).push(record);
    for (const record of gone) await this.forgetProcess(record.id);
    return alive.sort((a, b) => a.id.localeCompare(b.id));
  }

  /** Tags of row records, a page at a time; `cursor` '0' starts and ends. At least every tag that stays is seen. */
  async scanTags(cursor: string, count: number): Promise<{ cursor: string; tags: RowTag[] }> {
    const [next, found] = (await this.connection.call(
      'SCAN',
      cursor,
      'MATCH',
      this.keys.rowPattern,
      'COUNT',
      count,
    )) as [string, string[]];
    return { cursor: next, tags: found.map(key => tagOfRecord(this.keys, key)) };
  }
}

const WAIT = Buffer.from('wait');
const PRESENT = Buffer.from('present');

function entryOf(body: Buffer | null, meta: Buffer | null): Entry | null {
  if (body === null || meta === null) return null;
  const parsed = parseMeta(meta.toString());
  return parsed && { body, meta: parsed };
}
