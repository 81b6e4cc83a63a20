import type { Observer } from '../observe.ts';
import { type JobName, jobKinds, orderJob, type Payload, subjectOf } from './jobs.ts';
import type { Queues } from './queues.ts';
import { within } from './within.ts';

export interface OutboxLimits {
  /** Orders that wait here at most, those under way included; further ones are dropped and counted. */
  readonly capacity: number;
  readonly batch: number;
  /** Time to gather a batch. */
  readonly lingerMs: number;
  readonly retryFirstMs: number;
  readonly retryLongestMs: number;
  /** How long the last orders may take when the process stops. */
  readonly closeWithinMs: number;
}

const defaults: OutboxLimits = {
  capacity: 10_000,
  batch: 500,
  lingerMs: 5,
  retryFirstMs: 100,
  retryLongestMs: 2_000,
  closeWithinMs: 500,
};

interface Waiting {
  readonly name: JobName;
  readonly payload: Payload<JobName>;
}

/**
 * Between the apply loop, which never waits, and the queue Redis, which may be away. Orders for one thing take
 * one place, the newest payload wins; what does not fit is dropped and counted: jobs are what may be lost.
 */
export class Outbox {
  readonly #queues: Pick<Queues, 'add'>;
  readonly #observer: Observer;
  readonly #limits: OutboxLimits;
  readonly #waiting = new Map<string, Waiting>();
  readonly #dropped = new Map<JobName, number>();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #retryMs: number;
  #trouble = 'the buffer was full';
  #closed = false;

  constructor(queues: Pick<Queues, 'add'>, observer: Observer, limits: Partial<OutboxLimits> = {}) {
    this.#queues = queues;
    this.#observer = observer;
    this.#limits = { ...defaults, ...limits };
    this.#retryMs = this.#limits.retryFirstMs;
  }

  /** Orders wait here; what a full buffer refuses is not among them. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Takes an order, or drops it. Never throws, never waits. */
  offer<N extends JobName>(name: N, payload: Payload<N>): void {
    const key = `${name} ${subjectOf(name, payload)}`;
    if (this.#closed || (this.#waiting.size >= this.#limits.capacity && !this.#waiting.has(key))) {
      this.#dropped.set(name, (this.#dropped.get(name) ?? 0) + 1);
    } else {
      this.#waiting.set(key, { name, payload });
    }
    if (this.#closed) this.#reportDrops();
    this.#wake(this.#limits.lingerMs);
  }

  /** Sends what it can within its bound; the rest is dropped and counted. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await within(this.#limits.closeWithinMs, this.#sendRest());
    for (const { name } of this.#waiting.values())
      this.#dropped.set(name, (this.#dropped.get(name) ?? 0) + 1);
    this.#waiting.clear();
    this.#trouble = 'the process stopped';
    this.#reportDrops();
  }

  async #sendRest(): Promise<void> {
    await this.#sending;
    while (this.#waiting.size > 0 && (await this.#sendBatch()));
  }

  #wake(afterMs: number): void {
    if (this.#timer !== undefined || this.#sending !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#sending = this.#send().finally(() => {
        this.#sending = undefined;
        this.#reportDrops();
        if (this.#waiting.size > 0) this.#wake(this.#retryMs);
      });
    }, afterMs);
  }

  async #send(): Promise<void> {
    while (this.#waiting.size > 0 && !this.#closed) {
      if (await this.#sendBatch()) {
        this.#retryMs = this.#limits.retryFirstMs;
        continue;
      }
      this.#retryMs = Math.min(this.#retryMs * 2, this.#limits.retryLongestMs);
      return;
    }
  }

  async #sendBatch(): Promise<boolean> {
    const batch = this.#oldest();
    try {
      await this.#queues.add(batch.map(([, { name, payload }]) => orderJob(name, payload)));
      this.#trouble = 'the buffer was full';
    } catch (error) {
      this.#trouble = error instanceof Error ? error.message : String(error);
      return false;
    }
    for (const [key, sent] of batch) {
      // A newer order for the same thing came meanwhile: it has to be sent as well.
      if (this.#waiting.get(key) === sent) this.#waiting.delete(key);
      this.#observer.emit({ type: 'job.added', queue: jobKinds[sent.name].queue });
    }
    return true;
  }

  #oldest(): [string, Waiting][] {
    const oldest: [string, Waiting][] = [];
    for (const entry of this.#waiting) {
      if (oldest.push(entry) === this.#limits.batch) break;
    }
    return oldest;
  }

  #reportDrops(): void {
    for (const [name, count] of this.#dropped) {
      this.#observer.emit({ type: 'job.dropped', queue: jobKinds[name].queue, count, why: this.#trouble });
    }
    this.#dropped.clear();
  }
}
