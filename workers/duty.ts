import type { Probe } from '../shared/origin/probe.ts';
import type { Gap } from './feed/feed.ts';

/** Under what changes are applied now. */
export interface Term {
  readonly epoch: string;
  /** Life of the database in which changes are followed. */
  readonly incarnation: string;
  /** Of the cache Redis in which the term began. */
  readonly runId: string | null;
}

/**
 * What a worker does beyond fencing rows. Several may share a source's partitions; what exists once for a database
 * is kept by the one that leads (lead.ts): definitions, beats, the closing of gaps. The others (member.ts) work
 * under the epoch that it closed, and tell it of a gap by ordering another one.
 */
export interface Duty {
  readonly term: Term;
  /** @throws GapError or FreshetError (retryable) when P is of another life of the database. */
  checkIncarnation(p: Probe): Promise<void>;
  /**
   * Compares P's definitions with those known. `isDefinite` false: P settles nothing. `doubted`: tables whose
   * changes at hand may have been read by a definition that is not theirs.
   */
  followDefinitions(
    p: Probe,
  ): Promise<{ readonly isDefinite: boolean; readonly doubted: ReadonlySet<string> }>;
  /** Whether a gap seen in the beats is this worker's to act on. */
  answersFor(gap: Gap): boolean;
  /** New generations of tables in doubt. @throws GapError or FreshetError (retryable) when the epoch is another one. */
  bumpGenerations(tables: readonly string[]): Promise<void>;
  /** Whether what is settled now may prove anything. @throws GapError where it shows that it may not, and never will. */
  mayEcho(): Promise<boolean>;
}
