import pg from 'pg';
import { FreshetError } from '../../shared/errors.ts';
import { PRINTING, startupOptions } from '../../shared/origin/pool.ts';
import { quoteIdentifier, quoteLiteral } from '../../shared/origin/quote.ts';
import { formatLsn } from './lsn.ts';

export interface ReplicationStreamOptions {
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  /** One WAL message: its payload, and the LSN at which it was written. */
  readonly onMessage: (payload: Buffer, lsn: bigint) => void;
  /** The server asks how far we are, and says that it has sent everything up to here. */
  readonly onQuestion: (sentUpTo: bigint) => void;
  readonly onEnd: (error: FreshetError) => void;
}

/** The part of node-postgres' connection that carries a copy-both stream; its types do not name it. */
interface CopyConnection {
  readonly stream: { pause(): void; resume(): void; destroy(): void };
  on(event: 'copyData', listener: (message: { chunk: Buffer }) => void): void;
  once(event: 'replicationStart', listener: () => void): void;
  sendCopyFromChunk(chunk: Buffer): void;
}

const XLOG_DATA = 'w'.charCodeAt(0);
const KEEPALIVE = 'k'.charCodeAt(0);
const STANDBY_STATUS = 'r'.charCodeAt(0);
const POSTGRES_EPOCH_MS = 946_684_800_000;
/** Also what keeps `wal_sender_timeout` (60 s) away while the stream is paused. */
const STATUS_EVERY_MS = 500;
const START_LIMIT_MS = 10_000;
/** Beats come ten times a second, and the server sends keep-alives: silence means a host that is gone without a word. */
const SILENCE_MS = 90_000;

/** A logical replication connection: `START_REPLICATION`, payloads in, acknowledged positions out. */
export class ReplicationStream {
  readonly #options: ReplicationStreamOptions;
  readonly #client: pg.Client;
  #acknowledged = 0n;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;
  #paused = false;
  #heardAtMs = performance.now();

  constructor(options: ReplicationStreamOptions) {
    this.#options = options;
    this.#client = new pg.Client({
      connectionString: options.url,
      application_name: 'freshet wal feed',
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
      options: startupOptions(PRINTING),
      // Understood by the client, absent from its types.
      ...({ replication: 'database' } as object),
    });
    this.#client.on('error', error => this.#end(error));
    this.#client.on('end', () => this.#end(new Error('the server closed the replication connection')));
  }

  /** Resolves once the server streams. @throws what the server said, `code` 55006 when the slot is in use. */
  async start(): Promise<void> {
    await this.#client.connect();
    const connection = this.#connection;
    connection.on('copyData', ({ chunk }) => this.#receive(chunk));
    const started = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no stream within ${START_LIMIT_MS} ms`)),
        START_LIMIT_MS,
      );
      connection.once('replicationStart', () => {
        clearTimeout(timer);
        resolve();
      });
      this.#client
        .query(
          `START_REPLICATION SLOT ${quoteIdentifier(this.#options.slot)} LOGICAL 0/0
           (proto_version '1', publication_names ${quoteLiteral(this.#options.publication)}, messages 'true')`,
        )
        .catch(error => {
          clearTimeout(timer);
          reject(error);
          this.#end(error);
        });
    });
    await started;
    this.#heardAtMs = performance.now();
    this.#timer = setInterval(() => {
      this.#sendStatus();
      if (this.#paused || performance.now() - this.#heardAtMs < SILENCE_MS) return;
      this.#end(new Error(`nothing was heard for ${SILENCE_MS / 1_000} s`));
    }, STATUS_EVERY_MS);
  }

  pause(): void {
    this.#paused = true;
    this.#connection.stream.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#heardAtMs = performance.now();
    this.#connection.stream.resume();
  }

  /** Everything up to `lsn` may be forgotten by the server; told with the next status. */
  acknowledge(lsn: bigint): void {
    if (lsn > this.#acknowledged) this.#acknowledged = lsn;
  }

  /** Tells the last acknowledged position and hangs up. */
  async close(): Promise<void> {
    const wasEnded = this.#ended;
    this.#ended = true;
    clearInterval(this.#timer);
    if (wasEnded) return;
    this.#sendStatus();
    // A client in a copy-both stream would wait for a query that never ends.
    await new Promise<void>(resolve => {
      this.#client.once('end', () => resolve());
      const stream = this.#connection.stream as unknown as { end(): void; destroy(): void };
      stream.end();
      setTimeout(() => {
        stream.destroy();
        resolve();
      }, 500).unref();
    });
  }

  get #connection(): CopyConnection {
    return (this.#client as unknown as { connection: CopyConnection }).connection;
  }

  #receive(chunk: Buffer): void {
    if (this.#ended) return;
    this.#heardAtMs = performance.now();
    // The protocol parser uses its buffer again; images are read out of the message later, or never.
    if (chunk[0] === XLOG_DATA)
      this.#options.onMessage(Buffer.from(chunk.subarray(25)), chunk.readBigUInt64BE(1));
    else if (chunk[0] === KEEPALIVE && chunk[17] === 1) {
      this.#options.onQuestion(chunk.readBigUInt64BE(1));
      this.#sendStatus();
    }
  }

  /** Standby status update: written, flushed and applied are all "settled" here. */
  #sendStatus(): void {
    const status = Buffer.alloc(34);
    status[0] = STANDBY_STATUS;
    for (const at of [1, 9, 17]) status.writeBigUInt64BE(this.#acknowledged, at);
    status.writeBigInt64BE(BigInt(Date.now() - POSTGRES_EPOCH_MS) * 1000n, 25);
    try {
      this.#connection.sendCopyFromChunk(status);
    } catch (error) {
      this.#end(error);
    }
  }

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    this.#connection.stream.destroy();
    const message = error instanceof Error ? error.message : String(error);
    this.#options.onEnd(
      new FreshetError({
        code: 'feed-lost',
        message: `the replication stream of slot ${this.#options.slot} ended at ${formatLsn(this.#acknowledged)}: ${message}`,
        retryable: true,
        cause: error,
      }),
    );
  }
}
