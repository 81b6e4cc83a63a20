import type { Blocker } from '../observe.ts';
import type { Entry, TableControl } from '../protocol/entry.ts';

export interface RowRead {
  readonly entry: Entry | null;
  /** Null while `control` says nothing of this table: nothing is servable and nothing may be filled. */
  readonly control: TableControl | null;
  /** Monotonic milliseconds just before the read was sent: what a proof is judged by. */
  readonly sentAtMs: number;
}

export type LeaseAnswer =
  | { readonly kind: 'granted'; readonly token: string; readonly nowMs: number }
  | { readonly kind: 'wait'; readonly forMs: number }
  | { readonly kind: 'present'; readonly entry: Entry };

/** A table's place in `control`: a generation, and the digest under which it was begun (null: not cacheable). */
export interface TableState {
  readonly table: string;
  readonly generation: string;
  readonly digest: string | null;
}

export interface Control {
  readonly epoch: string;
  /** The worker that follows the database; null before there was one. */
  readonly worker: string | null;
  readonly incarnation: string;
  /** Whether every gap before this epoch was closed: until then nothing is proven under it. */
  readonly isClosed: boolean;
  readonly tables: ReadonlyMap<string, TableState>;
}

/** What of `control` stands for all tables. */
export type Standing = Pick<Control, 'epoch' | 'incarnation' | 'isClosed'>;

/** What a process tells of itself. */
export interface ProcessReport {
  readonly id: string;
  readonly role: 'api' | 'worker';
  readonly metrics: string | null;
  readonly mode: string | null;
  readonly proofAgeMs: number | null;
  /** Why nothing is proven now, where a worker knows. */
  readonly gap?: string | null;
  /** Transactions that a barrier or a new slot waits for. */
  readonly waitingFor?: readonly Blocker[];
  readonly feed?: string;
  /** Why the feed does not run; null while it does. */
  readonly trouble?: string | null;
  /** Changes received and not settled yet. */
  readonly unsettled?: number;
  /** Partitions of the feed that this worker follows; the one that has the first leads. */
  readonly partitions?: readonly number[];
}

/** The same as it stands in Redis, rewritten every second. */
export interface ProcessRecord extends ProcessReport {
  /** Wall clock, milliseconds. */
  readonly at: number;
}
