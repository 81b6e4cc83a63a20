import { Redis, type RedisOptions } from 'ioredis';
import { describe, FreshetError } from '../errors.ts';
import type { Observer } from '../observe.ts';

const reconnectLongestMs = 500;
const connectTimeoutMs = 2_000;
/** How long a closing connection waits for the other side. */
const disconnectTimeoutMs = 500;
/** Bound of one command of a producer: nothing behind it waits longer for a hung server. */
const commandTimeoutMs = 2_000;

/**
 * A producer fails at once while Redis is away: what it wanted to say waits in a bounded buffer, not in a
 * command queue. A consumer has nothing better to do than to wait.
 */
export type ConnectionUse = 'producer' | 'consumer';

const optionsOf = {
  producer: {
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
  },
  consumer: { maxRetriesPerRequest: null },
} as const satisfies Record<ConnectionUse, Partial<RedisOptions>>;

/** One connection to the queue Redis, and the copies that were made of it. Reconnects by itself. */
export class QueueConnection {
  readonly redis: Redis;
  readonly #observer: Observer | null;
  /** BullMQ duplicates a consumer's connection for the command it blocks in. */
  readonly #copies: Redis[] = [];
  #closing = false;
  #lost = false;

  /** `observer`: hears of losses and returns; null where another connection to the same server reports them. */
  constructor(url: string, use: ConnectionUse, observer: Observer | null) {
    this.#observer = observer;
    this.redis = new Redis(url, {
      ...optionsOf[use],
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      retryStrategy: (attempt: number) =>
        this.#closing ? null : Math.min(50 * 2 ** Math.min(attempt, 10), reconnectLongestMs),
    });
    const duplicate = this.redis.duplicate.bind(this.redis);
    this.redis.duplicate = options => {
      const copy = duplicate(options);
      copy.on('error', () => {});
      this.#copies.push(copy);
      return copy;
    };
    this.redis.on('error', error => this.#lose(error));
    this.redis.on('close', () => this.#lose(new Error('the connection was closed')));
    this.redis.on('ready', () => void this.#regain());
  }

  get isReady(): boolean {
    return this.redis.status === 'ready';
  }

  /** Whether the server answers within `limitMs`; an absent server is not an error, it may come. */
  async isReachable(limitMs: number): Promise<boolean> {
    if (this.isReady) return true;
    return new Promise(resolve => {
      const done = (): void => {
        clearTimeout(timer);
        this.redis.off('ready', done);
        resolve(this.isReady);
      };
      const timer = setTimeout(done, limitMs);
      this.redis.on('ready', done);
    });
  }

  /**
   * No reconnecting from here on. Resolves when each connection stands or has ended: one that is told to disconnect
   * while it waits for its next attempt never says that it ended, and BullMQ would wait for that word.
   */
  async stopReconnecting(): Promise<void> {
    this.#closing = true;
    await Promise.all(
      [this.redis, ...this.#copies].map(async redis => {
        const { promise, resolve } = Promise.withResolvers<void>();
        const settle = (): void => resolve();
        for (const event of ['ready', 'end'] as const) redis.once(event, settle);
        if (redis.status === 'ready' || redis.status === 'end') settle();
        await promise;
        for (const event of ['ready', 'end'] as const) redis.off(event, settle);
      }),
    );
  }

  /** Ends all connections at once: whatever is still in flight fails. */
  disconnect(): void {
    this.#closing = true;
    for (const redis of [...this.#copies, this.redis]) if (redis.status !== 'end') redis.disconnect();
  }

  #lose(error: unknown): void {
    if (this.#lost || this.#closing) return;
    this.#lost = true;
    this.#observer?.emit({ type: 'redis.lost', role: 'queue', error });
  }

  async #regain(): Promise<void> {
    this.#lost = false;
    if (!this.#observer) return;
    const info = await this.redis.info('server').catch(() => '');
    this.#observer.emit({
      type: 'redis.connected',
      role: 'queue',
      runId: /^run_id:(\w+)/m.exec(info)?.[1] ?? '',
    });
  }
}

/**
 * Refuses a Redis that may evict: it would throw away waiting jobs, and nothing would say so.
 * @throws FreshetError `queue-redis-evicts`; retryable when the server could not be asked.
 */
export async function refuseEvicting(redis: Redis): Promise<void> {
  const policy = await evictionPolicy(redis);
  if (policy === 'noeviction') return;
  throw new FreshetError({
    code: 'queue-redis-evicts',
    message: `the queue Redis may evict: its maxmemory-policy is "${policy}", expected "noeviction"`,
    hint: 'Jobs would vanish without an error. Point QUEUE_REDIS_URL at a Redis of its own with `maxmemory-policy noeviction`.',
  });
}

/** Managed servers forbid CONFIG; INFO tells the same. */
async function evictionPolicy(redis: Redis): Promise<string> {
  try {
    const configured = (await redis.config('GET', 'maxmemory-policy')) as string[];
    if (configured[1]) return configured[1];
  } catch (error) {
    if (redis.status !== 'ready') {
      throw new FreshetError({
        code: 'queue-redis-unavailable',
        message: `the queue Redis went away: ${describe(error)}`,
        retryable: true,
        cause: error,
      });
    }
  }
  return /^maxmemory_policy:(.*?)\r?$/m.exec(await redis.info('memory'))?.[1] ?? 'unknown';
}
