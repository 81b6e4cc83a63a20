import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Clock } from '../shared/clock.ts';
import type { Blocker, Observer } from '../shared/observe.ts';
import { findBlockers } from '../shared/origin/blockers.ts';
import { barrierXid, probe } from '../shared/origin/probe.ts';

export interface BarrierOptions {
  readonly pool: pg.Pool;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

const FIRST_LOOK_MS = 2;
const LONGEST_LOOK_MS = 250;
/** Waiting shorter than this is not worth telling. */
const TELL_AFTER_MS = 500;
const TELL_EVERY_MS = 1_000;

/**
 * Waiting for transactions of others. Nothing is ever cancelled: who is waited for is told instead, to the log and,
 * through `waitingFor`, to `freshet status`.
 */
export class Barrier {
  readonly #options: BarrierOptions;
  #waitingFor: readonly Blocker[] = [];

  constructor(options: BarrierOptions) {
    this.#options = options;
  }

  get waitingFor(): readonly Blocker[] {
    return this.#waitingFor;
  }

  /**
   * Resolves once every transaction that was running when it was called has ended and is visible. A change that was
   * lost may have its commit record out and still be invisible to readers; behind this wait it is not.
   */
  async pass(): Promise<void> {
    const { pool, signal } = this.#options;
    const xid = await barrierXid(pool);
    await this.#watch(xid, async () => {
      for (
        let waitMs = FIRST_LOOK_MS;
        (await probe(pool, [])).snapshot.xmin <= xid;
        waitMs = Math.min(waitMs * 2, LONGEST_LOOK_MS)
      ) {
        await delay(waitMs, undefined, { signal });
      }
    });
  }

  /** Runs `work`, which the server holds up until writing transactions end, and tells which ones meanwhile. */
  whileBlocked<T>(work: () => Promise<T>): Promise<T> {
    return this.#watch(null, work);
  }

  async #watch<T>(before: bigint | null, work: () => Promise<T>): Promise<T> {
    const { pool, clock, observer } = this.#options;
    const startMs = clock.monotonicMs();
    const look = async (): Promise<void> => {
      this.#waitingFor = await findBlockers(pool, before).catch(() => []);
      observer.emit({
        type: 'gap.waiting',
        blockers: this.#waitingFor,
        waitedMs: clock.monotonicMs() - startMs,
      });
    };
    let every: NodeJS.Timeout | undefined;
    const first = setTimeout(() => {
      void look();
      every = setInterval(() => void look(), TELL_EVERY_MS);
    }, TELL_AFTER_MS);
    try {
      return await work();
    } finally {
      clearTimeout(first);
      clearInterval(every);
      this.#waitingFor = [];
    }
  }
}
