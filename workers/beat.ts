import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { CacheStore } from '../shared/cache/store.ts';
import type { Observer } from '../shared/observe.ts';
import { openSession } from '../shared/origin/session.ts';

export interface BeatWriterOptions {
  readonly url: string;
  readonly store: CacheStore;
  /** Messages belong to the whole database: another installation on it must know these for foreign. */
  readonly namespace: string;
  /** Message prefixes, one a partition: each reaches its partition. */
  readonly prefixes: readonly string[];
  readonly observer: Observer;
  readonly everyMs?: number;
}

const EVERY_MS = 100;
/** From Postgres 17 on a message can be flushed by itself, without a transaction and without an xid. */
const FLUSHED_MESSAGE = 170_000;

/**
 * Beats: numbered messages put into the log that come back through the feed. What was committed before a beat lies
 * before it in the log, so a beat that comes back settled proves that much for everybody whose nonce it carries.
 *
 * Numbers are the writer's own and go up by one only when the server has said that the message is in the log. When
 * that is in doubt, the writer goes on under another name, beginning at 1 again: a number is never skipped, and
 * never used twice.
 */
export class BeatWriter {
  readonly #options: BeatWriterOptions;
  #writer = randomUUID();
  #number = 0;
  #client: pg.Client | null = null;
  #canFlush = true;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | null = null;
  #stopped = false;
  #failing = false;

  constructor(options: BeatWriterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#beating ??= this.#beat().finally(() => {
        this.#beating = null;
      });
    }, this.#options.everyMs ?? EVERY_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#beating;
    await this.#client?.end().catch(() => {});
  }

  async #beat(): Promise<void> {
    const { prefixes, observer } = this.#options;
    try {
      const client = await this.#connect();
      const number = this.#number + 1;
      await this.#noteNonces(number);
      await this.#write(client, prefixes, number);
      this.#number = number;
      this.#failing = false;
      observer.emit({ type: 'beat.sent', number });
    } catch (error) {
      if (!this.#stopped && !this.#failing) observer.emit({ type: 'postgres.lost', use: 'beats', error });
      this.#failing = true;
      this.#writer = randomUUID();
      this.#number = 0;
      await this.#client?.end().catch(() => {});
      this.#client = null;
    }
  }

  /** A beat is worth sending without nonces too: positions move on by it, and definitions are looked at. */
  async #noteNonces(number: number): Promise<void> {
    const { store } = this.#options;
    try {
      const nonces = await store.takeNonces();
      if (nonces.length > 0) await store.noteBeat(this.#writer, number, nonces);
    } catch {
      // The store reports that Redis is away; nonces that got lost are sent anew by their processes.
    }
  }

  /** All partitions get the number in one statement. The last one's flush takes those before it along. */
  async #write(client: pg.Client, prefixes: readonly string[], number: number): Promise<void> {
    const emit = this.#canFlush
      ? 'pg_logical_emit_message(false, prefix, content, place = cardinality($1::text[]))'
      : 'pg_logical_emit_message(true, prefix, content)';
    await client.query({
      name: 'freshet beat',
      text: `select ${emit} from unnest($1::text[]) with ordinality as prefixes (prefix, place),
        lateral (select json_build_object('writer', $2::text, 'number', $3::int, 'namespace', $4::text,
          'incarnation', (select incarnation from freshet.alive), 'partitions', cardinality($1::text[]))::text as content) body`,
      values: [prefixes, this.#writer, number, this.#options.namespace],
    });
  }

  async #connect(): Promise<pg.Client> {
    if (this.#client) return this.#client;
    const client = await openSession(this.#options.url, 'beats', {
      // A standby that does not answer must not hold up what tells how far the stream has come.
      synchronous_commit: 'local',
    });
    client.on('error', () => {
      this.#client = null;
    });
    const { rows } = await client.query("select current_setting('server_version_num')::int as version");
    this.#canFlush = Number((rows[0] as { version: string }).version) >= FLUSHED_MESSAGE;
    this.#client = client;
    return client;
  }
}
