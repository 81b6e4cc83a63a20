import type pg from 'pg';
import type { FillResult } from '../shared/fill/lease-and-fill.ts';
import type { EventOutcome, Mode, Observer, ReadResult } from '../shared/observe.ts';
import type { Xid } from '../shared/protocol/xid.ts';
import type { RowTag } from '../shared/resources/keys.ts';
import type { Catalog, Resource } from '../shared/resources/resource.ts';

/** A row as the reader hands it out, ready for the socket. */
export interface RowAnswer {
  readonly found: boolean;
  /** Ready to send; empty when not found. */
  readonly body: Buffer;
  /** Quoted and strong; empty when not found. */
  readonly etag: string;
  readonly result: ReadResult;
  /** The mode under which it was answered. */
  readonly mode: Mode;
  /** This very read made the entry. */
  readonly stored: boolean;
  /** Until the entry expires; null when it does not, or is none. */
  readonly ttlSeconds: number | null;
  /** `v1.<system>.<timeline>.<xid>` of the last change of the row, where known. */
  readonly token: string | null;
  /** Why it was not an ordinary answer, in a word: the detail of Cache-Status. */
  readonly why: string | null;
}

export interface RowReader {
  /**
   * `demandProof`: the caller wants the answer checked against the primary, whatever the mode.
   * @throws FreshetError retryable where nobody can answer just now: `overloaded`, a database that is away.
   */
  read(resource: Resource, key: string[], options: { demandProof: boolean }): Promise<RowAnswer>;
}

/** All that a request may touch; `context.ts` builds it, tests build their own. */
export interface ApiContext {
  /** Replaced as a whole when a definition changed: ask once a request. */
  readonly catalog: () => Catalog;
  /** Reads the definitions again: a statement was refused because they are not what they were. */
  readonly refreshCatalog: () => Promise<unknown>;
  readonly reader: RowReader;
  readonly store: { event(tag: RowTag, xids: readonly Xid[]): Promise<EventOutcome> };
  readonly filler: {
    fill(resource: Resource, key: readonly string[], options: { mustSee?: Xid }): Promise<FillResult>;
  };
  readonly writePool: pg.Pool;
  readonly system: { readonly id: string; readonly timeline: number };
  readonly observer: Observer;
  /** Named conditions folded into one word. */
  readonly ready: () => { readonly ok: boolean; readonly conditions: Readonly<Record<string, string>> };
}
