import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { Observer } from '../observe.ts';
import type { Keys, RowTag } from '../resources/keys.ts';
import type { Resource } from '../resources/resource.ts';
import { QueueConnection } from './connection.ts';
import { ReadCounts } from './read-counts.ts';

export interface PopularityLimits {
  readonly halfLifeMs: number;
  readonly mergeEveryMs: number;
  /** Rows counted in one process between two merges, of one resource. */
  readonly rowsCounted: number;
  /** Rows remembered for the whole fleet, of one resource. */
  readonly rowsKept: number;
  /** Rows merged by one script: bounds the time it keeps others of the queue Redis waiting. */
  readonly mergeBatch: number;
  readonly forgottenAfterMs: number;
}

const defaults: PopularityLimits = {
  halfLifeMs: 10 * 60_000,
  mergeEveryMs: 5_000,
  rowsCounted: 20_000,
  rowsKept: 20_000,
  mergeBatch: 500,
  forgottenAfterMs: 30 * 24 * 60 * 60_000,
};

export interface PopularityOptions {
  readonly url: string;
  readonly keys: Keys;
  readonly observer: Observer;
  /** Resources whose top rows `isHot` shall know. */
  readonly watch?: () => Iterable<Pick<Resource, 'name' | 'warmUpTop'>>;
  readonly limits?: Partial<PopularityLimits>;
}

const mergeScript = readFileSync(new URL('./lua/merge-popularity.lua', import.meta.url), 'utf8');

/**
 * Which rows are read most, over all processes and across restarts: counted here, merged into the queue Redis.
 * While that is away, counting goes on within its bound.
 */
export class Popularity {
  readonly #connection: QueueConnection;
  readonly #keys: Keys;
  readonly #watch: () => Iterable<Pick<Resource, 'name' | 'warmUpTop'>>;
  readonly #limits: PopularityLimits;
  readonly #counts: ReadCounts;
  #top = new Map<string, ReadonlySet<RowTag>>();
  readonly #timer: NodeJS.Timeout;
  #round: Promise<void> | undefined;

  constructor(options: PopularityOptions) {
    this.#connection = new QueueConnection(options.url, 'producer', options.observer);
    this.#keys = options.keys;
    this.#watch = options.watch ?? (() => []);
    this.#limits = { ...defaults, ...options.limits };
    this.#counts = new ReadCounts(this.#limits.rowsCounted);
    this.#timer = setInterval(() => void this.sync(), this.#limits.mergeEveryMs);
    this.#connection.redis.once('ready', () => void this.sync());
  }

  get #redis(): Redis {
    return this.#connection.redis;
  }

  /** Notes one read of an existing row. */
  count(resource: string, tag: RowTag): void {
    this.#counts.add(resource, tag);
  }

  /** Whether the row was among the top of its resource when that was last looked up. */
  isHot(resource: string, tag: RowTag): boolean {
    return this.#top.get(resource)?.has(tag) ?? false;
  }

  /** Merges what was counted and looks up the top rows. Runs by itself; never throws. */
  sync(): Promise<void> {
    this.#round ??= this.#sync().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #sync(): Promise<void> {
    try {
      await this.#merge();
      await this.#lookUp();
    } catch {
      // The connection reports that Redis is away; there is nothing to add.
      this.#counts.makeRoom();
    }
  }

  async #merge(): Promise<void> {
    const left = this.#counts.take();
    try {
      for (const [resource, rows] of left) {
        while (rows.length > 0) {
          await this.#mergeBatch(resource, rows.slice(-this.#limits.mergeBatch));
          rows.splice(-this.#limits.mergeBatch);
        }
      }
    } finally {
      // A batch whose answer was lost may count twice: a row looks a little hotter than it is.
      for (const [resource, rows] of left) for (const row of rows) this.#counts.add(resource, ...row);
    }
  }

  async #mergeBatch(resource: string, rows: readonly [RowTag, number][]): Promise<void> {
    const { halfLifeMs, rowsKept, forgottenAfterMs } = this.#limits;
    const args = [halfLifeMs, rowsKept, forgottenAfterMs, ...rows.flat()].map(String);
    await this.#redis.eval(mergeScript, 1, this.#keys.popularity(resource), ...args);
  }

  async #lookUp(): Promise<void> {
    const top = new Map<string, ReadonlySet<RowTag>>();
    for (const { name, warmUpTop } of this.#watch()) top.set(name, new Set(await this.top(name, warmUpTop)));
    this.#top = top;
  }

  /** The most read rows first. @throws when the queue Redis is away. */
  async top(resource: string, rows: number): Promise<RowTag[]> {
    return rows > 0 ? this.#redis.zrevrange(this.#keys.popularity(resource), 0, rows - 1) : [];
  }

  /** Everything remembered of a resource, the most read first, in batches. @throws when the queue Redis is away. */
  async *remembered(resource: string, batch: number): AsyncGenerator<RowTag[]> {
    const key = this.#keys.popularity(resource);
    const all = await this.#redis.zrevrange(key, 0, -1);
    for (let start = 0; start < all.length; start += batch) yield all.slice(start, start + batch);
  }

  /** Forgets rows; returns how many were known. @throws when the queue Redis is away. */
  async forget(resource: string, tags: readonly RowTag[]): Promise<number> {
    return tags.length > 0 ? this.#redis.zrem(this.#keys.popularity(resource), ...tags) : 0;
  }

  /** Merges what is left to merge, within the bound of one command. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#round;
    await this.#sync();
    this.#connection.disconnect();
  }
}

/** Starts counting at once; the queue Redis may come later. */
export const openPopularity = (options: PopularityOptions): Popularity => new Popularity(options);
