import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { FreshetError } from '../errors.ts';
import type { Observer } from '../observe.ts';
import { everyScript, type ScriptName, scripts } from './scripts.ts';

export interface CacheConnectionOptions {
  readonly url: string;
  /** The `control` key: adopting a server is a decision about it. */
  readonly controlKey: string;
  /** Bound of one command; a hung server must cost a request no more than this. */
  readonly commandTimeoutMs: number;
  /** Channel to listen on, over a connection of its own; absent: none is opened. */
  readonly channel?: string;
  readonly observer: Observer;
}

interface Events {
  /** Every command from now on goes to an adopted server. `adopted`: it was new to us, so a new epoch was made. */
  opened: [{ runId: string; adopted: boolean }];
  /** A connection is gone: nothing that was known through it holds any more. */
  lost: [error: unknown];
  message: [text: string];
}

type Reply = unknown;

/** Bounds what ioredis asks by itself while it connects. */
const HANDSHAKE_TIMEOUT_MS = 2_000;

const unavailable = (message: string, cause?: unknown): FreshetError =>
  new FreshetError({
    code: 'cache-unavailable',
    message,
    hint: 'Reads go to the database meanwhile. Check that the cache Redis (REDIS_URL) is up and a primary.',
    retryable: true,
    cause,
  });

/**
 * The way to the cache Redis, with a gate of its own. The gate closes with the connection and opens again only
 * when the server behind the new one has told its run id and that id is the adopted one: ioredis by itself would
 * let commands through to a promoted replica, or to an emptied server, before anybody has looked.
 */
export class CacheConnection extends EventEmitter<Events> {
  readonly #options: CacheConnectionOptions;
  readonly #data: Redis;
  readonly #push: Redis | null;
  #runId: string | null = null;
  #pushRunId: string | null = null;
  #closed = false;

  constructor(options: CacheConnectionOptions) {
    super();
    this.#options = options;
    this.#data = this.#create();
    this.#data.on('ready', () => void this.#adopt());
    this.#data.on('close', () => this.#lose('data'));
    this.#push = options.channel === undefined ? null : this.#create();
    this.#push?.on('ready', () => void this.#subscribe(options.channel!));
    this.#push?.on('close', () => this.#lose('push'));
    this.#push?.on('message', (_channel, text) => this.emit('message', text));
  }

  #create(): Redis {
    const redis = new Redis(this.#options.url, {
      lazyConnect: true,
      protocol: 2,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0,
      commandTimeout: HANDSHAKE_TIMEOUT_MS,
      connectTimeout: 2_000,
      retryStrategy: attempt => (this.#closed ? null : Math.min(25 * 2 ** Math.min(attempt, 6), 1_000)),
    });
    let last = '';
    redis.on('error', error => {
      const text = String(error);
      if (text !== last) this.#options.observer.emit({ type: 'redis.lost', role: 'cache', error });
      last = text;
    });
    redis.on('ready', () => {
      last = '';
    });
    return redis;
  }

  /** Starts connecting. Resolves when the gate has opened, or after `waitMs` with the gate still closed. */
  async open(waitMs = 5_000): Promise<boolean> {
    const opened = new Promise<boolean>(resolve => {
      const timer = setTimeout(() => resolve(this.isOpen), waitMs);
      this.once('opened', () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
    // A first failure is reported through 'error' and tried again like any later one.
    this.#data.connect().catch(() => {});
    this.#push?.connect().catch(() => {});
    return opened;
  }

  get isOpen(): boolean {
    return this.#runId !== null;
  }

  /** Both connections stand, and to the same server: only then can an echo prove anything. */
  get canProve(): boolean {
    return this.#runId !== null && this.#runId === this.#pushRunId;
  }

  get runId(): string | null {
    return this.#runId;
  }

  /** Sends one command. @throws FreshetError `cache-unavailable` (retryable) for every failure of Redis. */
  async call(command: string, ...args: (string | number | Buffer)[]): Promise<Reply> {
    this.#checkGate();
    try {
      return await this.#inTime(this.#data.call(command, ...args));
    } catch (error) {
      throw this.#wrap(command, error);
    }
  }

  /** Runs a script on its one key. @throws like `call`. */
  async run(name: ScriptName, key: string, ...args: (string | number | Buffer)[]): Promise<Reply> {
    this.#checkGate();
    try {
      return await this.#inTime(this.#data.call('EVALSHA', scripts[name].sha, 1, key, ...args));
    } catch (error) {
      if (!isMissingScript(error)) throw this.#wrap(name, error);
      await this.#loadScripts();
      return this.call('EVALSHA', scripts[name].sha, 1, key, ...args);
    }
  }

  /** The same with replies as Buffers, for bodies. */
  async runForBuffers(name: ScriptName, key: string, ...args: (string | number | Buffer)[]): Promise<Reply> {
    this.#checkGate();
    const send = () => this.#inTime(this.#data.callBuffer('EVALSHA', scripts[name].sha, 1, key, ...args));
    try {
      return await send();
    } catch (error) {
      if (!isMissingScript(error)) throw this.#wrap(name, error);
      await this.#loadScripts();
      return await send();
    }
  }

  /**
   * Runs one script over many keys in one round trip. All replies have come when it resolves.
   * @throws if any of them failed: the caller repeats the whole, every script here may be repeated.
   */
  async runMany(
    name: ScriptName,
    calls: readonly (readonly [key: string, ...args: string[]])[],
  ): Promise<Reply[]> {
    this.#checkGate();
    const pipeline = this.#data.pipeline();
    for (const [key, ...args] of calls) pipeline.call('EVALSHA', scripts[name].sha, 1, key, ...args);
    return this.#exec(name, pipeline);
  }

  /** Reads fields of many hashes in one round trip, as Buffers. */
  async readHashes(
    reads: readonly (readonly [key: string, ...fields: string[]])[],
  ): Promise<(Buffer | null)[][]> {
    this.#checkGate();
    const pipeline = this.#data.pipeline();
    for (const [key, ...fields] of reads) pipeline.hmgetBuffer(key, ...fields);
    return (await this.#exec('HMGET', pipeline)) as (Buffer | null)[][];
  }

  async #exec(what: string, pipeline: ReturnType<Redis['pipeline']>): Promise<Reply[]> {
    try {
      const results = (await this.#inTime(pipeline.exec())) ?? [];
      return results.map(([error, reply]) => {
        if (error) throw error;
        return reply;
      });
    } catch (error) {
      if (isMissingScript(error)) await this.#loadScripts();
      throw this.#wrap(what, error);
    }
  }

  /** Hangs up and connects again: the server is not the one that was adopted. */
  renew(): void {
    this.#data.disconnect(true);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#runId = null;
    this.#data.disconnect();
    this.#push?.disconnect();
  }

  /**
   * `reply`, or an error when it does not come in time. A timer that is late because this process was busy says
   * nothing about the server: what has arrived meanwhile is read before anybody gives up on it.
   */
  #inTime<T>(reply: Promise<T>): Promise<T> {
    const { commandTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const giveUp = (): void => reject(new Error(`no answer within ${commandTimeoutMs} ms`));
      const timer = setTimeout(() => setImmediate(giveUp), commandTimeoutMs);
      reply.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  #checkGate(): void {
    if (this.#runId === null) throw unavailable('the cache Redis is not connected');
  }

  #wrap(what: string, error: unknown): FreshetError {
    return unavailable(
      `the cache Redis did not answer ${what}: ${error instanceof Error ? error.message : error}`,
      error,
    );
  }

  #lose(which: 'data' | 'push'): void {
    const known = which === 'data' ? this.#runId !== null : this.#pushRunId !== null;
    if (which === 'data') this.#runId = null;
    else this.#pushRunId = null;
    if (!known || this.#closed) return;
    const error = unavailable(`the ${which} connection to the cache Redis was lost`);
    this.#options.observer.emit({ type: 'redis.lost', role: 'cache', error });
    this.emit('lost', error);
  }

  /** Learns who the server is before anything else is sent; only an adopted primary opens the gate. */
  async #adopt(): Promise<void> {
    const stream = this.#data.stream;
    try {
      const { runId, problem } = readServerInfo(String(await this.#inTime(this.#data.call('INFO'))));
      if (problem) throw unavailable(problem);
      const answer = await this.#inTime(
        this.#data.call('EVAL', scripts.adopt.source, 1, this.#options.controlKey, runId, randomUUID()),
      );
      await this.#loadScripts();
      if (this.#data.stream !== stream || this.#data.status !== 'ready') return;
      this.#runId = runId;
      this.#options.observer.emit({ type: 'redis.connected', role: 'cache', runId });
      this.emit('opened', { runId, adopted: answer === 'adopted' });
    } catch (error) {
      if (this.#closed) return;
      this.#options.observer.emit({ type: 'redis.lost', role: 'cache', error });
      // The connection may stand while the server cannot answer yet (loading, out of memory): try afresh.
      setTimeout(() => {
        if (!this.#closed && this.#data.stream === stream) this.#data.disconnect(true);
      }, 250).unref();
    }
  }

  async #subscribe(channel: string): Promise<void> {
    const push = this.#push!;
    const stream = push.stream;
    try {
      const { runId } = readServerInfo(String(await push.call('INFO', 'server')));
      await push.subscribe(channel);
      if (push.stream === stream && push.status === 'ready') this.#pushRunId = runId;
    } catch {
      if (!this.#closed && push.stream === stream) push.disconnect(true);
    }
  }

  async #loadScripts(): Promise<void> {
    const pipeline = this.#data.pipeline();
    for (const script of everyScript) pipeline.call('SCRIPT', 'LOAD', script.source);
    for (const [error] of (await this.#inTime(pipeline.exec())) ?? []) if (error) throw error;
  }
}

const isMissingScript = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith('NOSCRIPT');

/** What INFO says about identity and role; `problem` names why this server cannot be the cache. */
export function readServerInfo(info: string): { runId: string; problem: string | null } {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const runId = field('run_id') ?? '';
  const mode = field('redis_mode');
  const role = field('role');
  const major = Number(field('redis_version')?.split('.')[0]);
  let problem: string | null = null;
  if (role !== undefined && role !== 'master') problem = `the cache Redis is a ${role}; a primary is needed`;
  else if (mode !== undefined && mode !== 'standalone')
    problem = `the cache Redis runs in ${mode} mode; only standalone is supported`;
  else if (major < 7)
    problem = `the cache Redis is version ${field('redis_version')}; 7.0 or newer is needed`;
  return { runId, problem };
}
