import { randomUUID } from 'node:crypto';
import type { CacheStore } from '../../shared/cache/store.ts';
import type { Clock } from '../../shared/clock.ts';
import type { Mode, Observer } from '../../shared/observe.ts';

/**
 * How this process knows that what it reads from the cache is fresh.
 *
 *   process ──nonce, sent at t──▶ Redis ──▶ beat writer ──▶ WAL ──▶ feed ──▶ settled ──▶ PUBLISH nonce ──▶ process
 *
 * When a nonce comes back, everything committed before t has been applied. So the age of the proof is counted from
 * t, on this process's own monotonic clock; no clock is compared with another.
 *
 *              echo                            proof older than maxStalenessMs
 *   GUARDED ──────────▶ FRESH ───────────────────────────────────────────────▶ GUARDED
 *      ▲                  │ a Redis connection lost, or the wall clock jumped
 *      └── reconnected ── BYPASS ◀── Redis unusable ── any
 *
 * A read is judged by the proof that was in hand when it was sent. A proof that arrived while it was under way may
 * speak of a moment after the cache had already answered.
 */
export interface FreshnessOptions {
  readonly store: CacheStore;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Names the process among those that leave nonces. */
  readonly process: string;
  readonly maxStalenessMs: number;
}

interface Proof {
  /** When the nonce was sent: everything committed before is applied. */
  readonly provenAtMs: number;
  /** When its echo came. */
  readonly receivedAtMs: number;
}

const NONCE_EVERY_MS = 100;
/** Nonces awaited at most: an echo later than this many rounds proves nothing worth having. */
const MOST_AWAITED = 64;
/** Proofs remembered, to judge reads that were sent before the newest echo came. */
const MOST_PROOFS = 64;
/** A jump of the wall clock against the monotonic one beyond this means the machine slept, or the clock was set. */
const CLOCK_JUMP_MS = 200;

export class Freshness {
  readonly #options: FreshnessOptions;
  readonly #awaited = new Map<string, number>();
  #proofs: Proof[] = [];
  #clockOffsetMs: number;
  #timer: NodeJS.Timeout | undefined;
  #reported: Mode = 'GUARDED';
  /** Raised whenever all that was known is void; proofs of single entries are kept under it. */
  #term = 0;

  constructor(options: FreshnessOptions) {
    this.#options = options;
    this.#clockOffsetMs = this.#offset();
    options.store.connection.on('lost', () => this.#discard());
    options.store.connection.on('message', text => this.#echo(text));
  }

  start(): void {
    this.#timer = setInterval(() => void this.#sendNonce(), NONCE_EVERY_MS);
    void this.#sendNonce();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get maxStalenessMs(): number {
    return this.#options.maxStalenessMs;
  }

  /** Changes whenever every proof is void, those of single entries too. */
  get term(): number {
    this.#watchClock();
    return this.#term;
  }

  /** Whether a read sent at `sentAtMs` (monotonic) was covered by a proof then in hand. */
  covers(sentAtMs: number): boolean {
    this.#watchClock();
    for (let i = this.#proofs.length - 1; i >= 0; i -= 1) {
      const proof = this.#proofs[i]!;
      if (proof.receivedAtMs <= sentAtMs) return sentAtMs - proof.provenAtMs < this.#options.maxStalenessMs;
    }
    return false;
  }

  /** Milliseconds since the newest proof; null without one. */
  proofAgeMs(): number | null {
    const newest = this.#proofs.at(-1);
    return newest ? this.#options.clock.monotonicMs() - newest.provenAtMs : null;
  }

  mode(): Mode {
    if (!this.#options.store.connection.isOpen) return 'BYPASS';
    return this.covers(this.#options.clock.monotonicMs()) ? 'FRESH' : 'GUARDED';
  }

  async #sendNonce(): Promise<void> {
    this.#report();
    const { store, clock, process } = this.#options;
    if (!store.connection.canProve) return;
    const nonce = randomUUID();
    this.#awaited.set(nonce, clock.monotonicMs());
    if (this.#awaited.size > MOST_AWAITED) this.#awaited.delete(this.#awaited.keys().next().value!);
    // A nonce that does not get through is not echoed, and that says enough.
    await store.leaveNonce(process, nonce).catch(() => {});
  }

  #echo(text: string): void {
    // First: the nonces of before a jump are not awaited any more.
    this.#watchClock();
    for (const nonce of text.split(' ')) {
      const sentAtMs = this.#awaited.get(nonce);
      if (sentAtMs === undefined) continue;
      this.#awaited.delete(nonce);
      const newest = this.#proofs.at(-1);
      if (newest && newest.provenAtMs >= sentAtMs) continue;
      this.#proofs.push({ provenAtMs: sentAtMs, receivedAtMs: this.#options.clock.monotonicMs() });
      if (this.#proofs.length > MOST_PROOFS) this.#proofs.shift();
    }
    this.#report();
  }

  /** A suspended machine stops the monotonic clock of Linux, but not the changes of the database. */
  #watchClock(): void {
    const offsetMs = this.#offset();
    if (Math.abs(offsetMs - this.#clockOffsetMs) <= CLOCK_JUMP_MS) return;
    this.#clockOffsetMs = offsetMs;
    this.#discard();
  }

  #offset(): number {
    return this.#options.clock.wallMs() - this.#options.clock.monotonicMs();
  }

  /** A promoted replica may lack the last fences; a nonce sent before proves nothing about it. */
  #discard(): void {
    this.#awaited.clear();
    this.#proofs = [];
    this.#term += 1;
    this.#report();
  }

  #report(): void {
    const to = this.mode();
    if (to === this.#reported) return;
    const age = this.proofAgeMs();
    const why =
      to === 'FRESH'
        ? 'echo received'
        : age === null
          ? 'no proof in hand'
          : `proof is ${Math.round(age)} ms old`;
    this.#options.observer.emit({ type: 'mode.changed', from: this.#reported, to, why });
    this.#reported = to;
  }
}
