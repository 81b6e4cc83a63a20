/**
 * The vocabulary of things that happen. Logs, metrics and spans are readers of it (observability/), so that
 * the code that does the work names what happened once. Emitting never throws and never waits.
 */

/** How a read was answered; the same words stand in `cache.requests` and, through one table, in Cache-Status. */
export type ReadResult = 'hit' | 'miss' | 'collapsed' | 'negative' | 'guarded' | 'bypass' | 'error';
export type ReadOutcome = 'not_modified' | 'modified' | 'precondition_failed' | 'none';
export type Mode = 'FRESH' | 'GUARDED' | 'BYPASS';
export type EventOutcome = 'applied' | 'already_fresh' | 'absent';
export type FillRefusal = 'fenced' | 'lease_lost' | 'older_epoch';

/** Why a new epoch was needed: the causes that PROTOCOL.md lists. */
export type GapCause =
  | 'first-start'
  | 'slot-missing'
  | 'slot-lost'
  | 'slot-ahead'
  | 'position-unknown'
  | 'offset-missing'
  | 'offset-ahead'
  | 'offset-out-of-range'
  | 'partitions-changed'
  | 'beat-missing'
  | 'other-system'
  | 'other-timeline'
  | 'other-incarnation'
  | 'redis-replaced'
  | 'control-missing'
  | 'ordered';

/** A transaction that keeps a barrier or a slot from being finished. */
export interface Blocker {
  readonly pid: number;
  readonly database: string;
  readonly ageSeconds: number;
  readonly query: string;
}

/** Milliseconds since the Unix epoch at which an applied change passed each point; absent where unknown. */
export interface ChangeTimes {
  readonly committedMs: number;
  readonly receivedMs: number;
  readonly appliedMs: number;
  readonly settledMs?: number;
}

export type Observation =
  | {
      type: 'read.served';
      resource: string;
      result: ReadResult;
      outcome: ReadOutcome;
      durationMs: number;
      savedBytes: number;
    }
  | { type: 'origin.loaded'; resource: string; outcome: 'found' | 'absent' | 'error'; durationMs: number }
  | { type: 'fill.refused'; resource: string; reason: FillRefusal }
  | { type: 'mode.changed'; from: Mode; to: Mode; why: string }
  | {
      type: 'write.committed';
      resource: string;
      op: 'insert' | 'update' | 'delete';
      xid: string;
      durationMs: number;
    }
  | { type: 'own-fence.failed'; resource: string; error: unknown }
  | { type: 'redis.connected'; role: 'cache' | 'queue'; runId: string }
  | { type: 'redis.lost'; role: 'cache' | 'queue'; error: unknown }
  | { type: 'postgres.lost'; use: string; error: unknown }
  | { type: 'feed.connected'; feed: string; position: string }
  | { type: 'feed.lost'; feed: string; error: unknown; retryInMs: number }
  | { type: 'feed.standby'; feed: string; holder: number | null }
  | { type: 'feed.position'; feed: string; position: string; newestCommitMs: number }
  | {
      type: 'change.applied';
      feed: string;
      table: string;
      op: string;
      outcome: EventOutcome | 'ignored' | 'generation';
      xid: string;
      key: string | null;
      times: ChangeTimes;
    }
  | { type: 'connector.state'; connector: string; state: string; trace: string | null }
  | { type: 'slot.checked'; slot: string; status: string; retainedBytes: number }
  | { type: 'change.unreadable'; feed: string; table: string | null; error: unknown }
  | { type: 'beat.sent'; number: number }
  | { type: 'beat.echoed'; number: number; durationMs: number }
  | { type: 'gap.opened'; cause: GapCause; detail: string }
  | { type: 'gap.waiting'; blockers: readonly Blocker[]; waitedMs: number }
  | { type: 'gap.closed'; cause: GapCause; durationMs: number; epoch: string }
  | {
      type: 'generation.raised';
      table: string;
      cause: 'definition' | 'truncate' | 'bulk' | 'unreadable' | 'first-start' | 'ordered';
    }
  | { type: 'job.added'; queue: string }
  | { type: 'job.dropped'; queue: string; count: number; why: string }
  | { type: 'job.done'; queue: string; waitMs: number; durationMs: number; outcome: string }
  | { type: 'job.failed'; queue: string; id: string; attempt: number; dead: boolean; error: unknown }
  | { type: 'warm-up.progress'; resource: string; done: number; total: number }
  | { type: 'cleanup.swept'; freed: number; looked: number }
  | { type: 'process.started'; role: string; detail: string }
  | { type: 'process.stopping'; role: string; why: string }
  | { type: 'process.stopped'; role: string; durationMs: number }
  | { type: 'note'; level: 'info' | 'warn' | 'error'; text: string; error?: unknown };

/** Facts a span carries: low-cardinality names, values as they come. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** What a queue holds: jobs by state (`waiting`, `active`, `delayed`, `failed`, …). */
export interface QueueFigures {
  readonly queue: string;
  readonly jobs: Readonly<Record<string, number>>;
  /** Age of the oldest waiting job in seconds; null while none waits. */
  readonly oldestAgeSeconds: number | null;
}

/** Figures that are asked for when metrics are collected, instead of being reported when they change. */
export interface Gauges {
  /** Age of the process's freshness proof in seconds; null while there is none. */
  proofAgeSeconds?: () => number | null;
  mode?: () => Mode;
  /** May wait for the queues' Redis; an answer that takes longer than a second is not used. */
  queues?: () => Promise<readonly QueueFigures[]>;
}

export interface Observer {
  emit(observation: Observation): void;
  /**
   * Runs `work` inside a span; an error is recorded on the span and thrown on. `parent`: the W3C `traceparent`
   * that came with a request, honoured where no span is under way.
   */
  trace<T>(name: string, attributes: Attributes, work: () => Promise<T>, parent?: string): Promise<T>;
  /** W3C `traceparent` of the span under way, if one is. */
  traceparent(): string | undefined;
  /** Figures to ask for at collection time; may be called several times, the names are merged. */
  gauges(gauges: Gauges): void;
}

/** Sees nothing: for tests and for tools that do not report. */
export const silentObserver: Observer = {
  emit() {},
  trace: (_name, _attributes, work) => work(),
  traceparent: () => undefined,
  gauges() {},
};
