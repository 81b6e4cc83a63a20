import type { Keys } from '../resources/keys.ts';
import type { CacheConnection } from './connection.ts';

/** A position as its feed wrote it. */
type Position = Readonly<Record<string, string>>;

/** The worker that follows. */
const OWNER = 'owner';

/** How far feeds are settled: records of the cache Redis, one for each partition of a feed. */
export class FeedPositions {
  readonly #connection: CacheConnection;
  readonly #keys: Keys;

  constructor(connection: CacheConnection, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** Null when unknown. */
  async read(record: string): Promise<Position | null> {
    const flat = (await this.#connection.call('HGETALL', this.#keys.feed(record))) as string[];
    const fields = flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1]!] as const] : []));
    return fields.some(([name]) => name !== OWNER) ? Object.fromEntries(fields) : null;
  }

  /** Says who follows from now on, and returns the position: what others write of it is refused. */
  async take(record: string, worker: string): Promise<Position | null> {
    await this.#connection.call('HSET', this.#keys.feed(record), OWNER, worker);
    return this.read(record);
  }

  /** False when another worker follows now. */
  async remember(record: string, position: Position, worker: string): Promise<boolean> {
    const pairs = Object.entries(position).flat();
    const answer = await this.#connection.run('remember', this.#keys.feed(record), worker, ...pairs);
    return answer === 'remembered';
  }

  /** Forgets the position, not who follows; nothing where another worker does. */
  async forget(record: string, worker: string): Promise<void> {
    await this.#connection.run('forget', this.#keys.feed(record), worker);
  }
}
