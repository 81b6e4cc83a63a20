import type { GapCause } from '../../shared/observe.ts';
import type { Xid } from '../../shared/protocol/xid.ts';

/** A row image: column name → value as Postgres prints it, null for NULL. A column that is missing is unknown. */
export type Image = Readonly<Record<string, string | null>>;

/** One change of one table, the same whichever feed brought it. */
export interface Change {
  readonly op: 'insert' | 'update' | 'delete' | 'truncate';
  /** Qualified name as keys use it: `users`, `billing.invoices`. */
  readonly table: string;
  /** 64 bit. */
  readonly xid: Xid;
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
}

/** What a feed hands over, in the order of the log. */
export type FeedItem =
  | { readonly kind: 'change'; readonly change: Change; readonly receivedMs: number }
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
      readonly table: string | null;
      readonly xid: Xid | null;
      readonly lsn: bigint;
      readonly raw: Buffer;
      readonly error: unknown;
    }
  /** Once all before it is settled, `position` may be acknowledged. */
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

/** A source of changes. One contract for every feed: in order per partition, at least once, never silently past a gap. */
export interface Feed {
  readonly name: string;
  readonly partitions: number;
  /**
   * Takes the source over and goes to its last acknowledged position. `remembered` is asked for only once the source
   * is ours, so that no other worker can still move it. Resolves with a gap when the two do not fit together.
   * Waits while another worker holds the source; rejects when the source cannot be reached.
   */
  open(remembered: () => Promise<FeedPosition | null>): Promise<Gap | null>;
  /** What has come since, at least one item unless `waitMs` passes first. Rejects when the connection is lost. */
  next(waitMs: number): Promise<FeedItem[]>;
  /** What to remember of a settled position before it is acknowledged. */
  positionOf(settled: string): FeedPosition;
  /** Everything up to `settled` may be forgotten by the source. */
  acknowledge(settled: string): void;
  /** Lets go of the source; what was acknowledged is sent first. */
  close(): Promise<void>;
}
