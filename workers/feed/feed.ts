import type { GapCause } from '../../shared/observe.ts';
import type { Xid } from '../../shared/protocol/xid.ts';

/**
 * A row image: column name → value as Postgres prints it, null for NULL. A column that is missing is unknown. Every
 * feed brings the columns that tags can be made of (whole numbers, booleans, uuids, enums, dates, texts); others may
 * be left out where the source does not say them exactly.
 */
export type Image = Readonly<Record<string, string | null>>;

/** One change of one table, the same whichever feed brought it. */
export interface Change {
  readonly op: 'insert' | 'update' | 'delete' | 'truncate';
  /** Qualified name as keys use it: `users`, `billing.invoices`. */
  readonly table: string;
  /** 64 bit; null where the source does not say whose change it is (a snapshot that a connector took of the table). */
  readonly xid: Xid | null;
  /** Place in the log, 64 bit; not unique. */
  readonly lsn: bigint;
  /** Milliseconds since the Unix epoch by the database's clock. */
  readonly committedMs: number;
  /** Primary key as Postgres prints it. Before: only where the feed tells (a delete, a key change, a full identity). */
  readonly keyBefore: readonly string[] | null;
  readonly keyAfter: readonly string[] | null;
  readonly before: Image | null;
  readonly after: Image | null;
}

/** A numbered message that the workers put into the log; see beat.ts. */
export interface Beat {
  readonly writer: string;
  readonly number: number;
  /** Which life of the database it was written in; null when the marker was gone. */
  readonly incarnation: string | null;
  /** To how many partitions it was sent; as many as are followed where it does not say. */
  readonly partitions?: number;
}

/** What a feed hands over: in the order of the log within each partition. */
export type FeedItem =
  | {
      readonly kind: 'change';
      readonly partition: number;
      readonly change: Change;
      readonly receivedMs: number;
    }
  | {
      readonly kind: 'beat';
      readonly partition: number;
      readonly beat: Beat;
      /** It lies before the position that was remembered: settled once, and delivered again. */
      readonly again: boolean;
    }
  /** Could not be understood. `table` null: nobody knows which; `xid` null: nobody knows whose. */
  | {
      readonly kind: 'unreadable';
      readonly partition: number;
      readonly table: string | null;
      readonly xid: Xid | null;
      /** Where it lies, for people: an LSN, or `topic/partition@offset`. */
      readonly place: string;
      readonly raw: Buffer;
      readonly error: unknown;
    }
  /** Once all before it in its partition is settled, `position` may be acknowledged. */
  | {
      readonly kind: 'mark';
      readonly partition: number;
      readonly position: string;
      readonly committedMs: number;
    };

/** Where a feed stands, kept in Redis: what the source's own idea of the position is compared with at every start. */
export type FeedPosition = Readonly<Record<string, string>>;

/** Why what was cached before cannot be trusted: changes may have been missed. */
export interface Gap {
  readonly cause: GapCause;
  readonly detail: string;
}

/** What a feed asks of those who know how far it was followed. */
export interface Memory {
  /** Asked for only once a partition is ours, so that no other worker can still move it. */
  readonly remembered: (partition: number) => Promise<FeedPosition | null>;
  /** Called before a source is made anew: should this worker end in the middle, the next one must know of the gap. */
  readonly doubt: () => Promise<void>;
}

/** A source as it was taken over: what of it is ours, and from where it goes on. */
export interface Taken {
  /** Whether this worker keeps what exists once for a database: definitions, beats, the closing of gaps. */
  readonly leads: boolean;
  /** Partition → what was remembered of the place from which it goes on; null where nothing was, and behind a gap. */
  readonly positions: ReadonlyMap<number, FeedPosition | null>;
  /** Set when positions and source do not fit together: changes may have been missed. */
  readonly gap: Gap | null;
}

/** A source of changes. One contract for every feed: in order per partition, at least once, never silently past a gap. */
export interface Feed {
  readonly name: string;
  /** Of the whole source, whoever follows them; known once it was opened. */
  readonly partitions: number;
  /** Prefixes of the messages that reach each partition, in its order; known once it was opened. */
  readonly beatPrefixes: readonly string[];
  /**
   * Takes over what there is to take, and goes to the last acknowledged position of each partition. Waits while other
   * workers hold everything; rejects when the source cannot be reached.
   */
  open(memory: Memory): Promise<Taken>;
  /**
   * What has come since, at least one item unless `waitMs` passes first. Rejects when the connection is lost, and when
   * partitions moved to or from other workers: what was not acknowledged is delivered again, to whoever has it then.
   */
  next(waitMs: number): Promise<FeedItem[]>;
  /** Name of the record that remembers a partition's position. */
  recordOf(partition: number): string;
  /** @throws what `next` would reject with, without taking anything. */
  check(): void;
  /** What to remember of a settled position before it is acknowledged. */
  positionOf(partition: number, settled: string): FeedPosition;
  /** Everything of the partition up to `settled` may be forgotten by the source. */
  acknowledge(partition: number, settled: string): void;
  /** Lets go of the source; what was acknowledged is sent first. */
  close(): Promise<void>;
}
