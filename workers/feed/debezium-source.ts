import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { ConnectClient, SourceOffset } from '../../connectors/connect-client.ts';
import type { KafkaNames } from '../../connectors/names.ts';
import { FreshetError } from '../../shared/errors.ts';
import type { Observer } from '../../shared/observe.ts';
import { unreadableBecause } from '../../shared/origin/unreadable-slot.ts';
import { GapError } from '../gap-error.ts';
import type { Gap } from './feed.ts';
import type { ChangeSource } from './kafka-feed.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import { createSlot, dropSlot, readSlot } from './slot.ts';

export interface DebeziumSourceOptions {
  readonly names: KafkaNames;
  /** For questions about the slot. */
  readonly pool: pg.Pool;
  /** Null where Connect's address is not known here: then a lost slot is told, and mended by people. */
  readonly connect: ConnectClient | null;
  readonly observer: Observer;
  /** Runs `work` while watching which transactions it has to wait for. */
  readonly whileBlocked: <T>(work: () => Promise<T>) => Promise<T>;
  readonly signal: AbortSignal;
}

const WATCH_EVERY_MS = 1_000;
/** A slot that nobody was seen to read so often in a row is looked into. */
const LOOKS_UNREAD = 3;
const STOP_LOOK_MS = 50;
const STOP_LIMIT_MS = 20_000;
const FIRST_RESTART_MS = 500;
const LONGEST_RESTART_MS = 30_000;
/** A task that ran for so long was well. */
const WELL_AFTER_MS = 60_000;

/**
 * The slot and the connector behind the topic, kept going by the worker that leads.
 *
 *   slot there ─▶ task failed ─▶ restarted, with growing pauses
 *        │ missing, invalidated, or ahead of what the connector has published
 *        ▼
 *   connector stopped ─▶ its offsets deleted ─▶ slot made anew ─▶ connector resumed ─▶ a gap: everything from here on
 */
export class DebeziumSource implements ChangeSource {
  readonly #options: DebeziumSourceOptions;
  /** Looks in a row at which nobody read the slot. */
  #unread = 0;

  constructor(options: DebeziumSourceOptions) {
    this.#options = options;
  }

  async ensure(doubt: () => Promise<void>): Promise<Gap | null> {
    const gap = (await this.#findLoss()) ?? (await this.#whereReachable(() => this.#findHole()));
    if (gap === null) {
      await this.#whereReachable(() => this.#goOn());
      return null;
    }
    await doubt();
    await this.#beginAnew(gap);
    return gap;
  }

  /** Null while Connect is away: then nothing is published, no beat comes, and `watch` asks again. */
  async #whereReachable<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'connect-unreachable') return null;
      throw error;
    }
  }

  /** Why the slot brings nothing any more; null while it does. */
  async #findLoss(): Promise<Gap | null> {
    const { names, pool, observer } = this.#options;
    const slot = await readSlot(pool, names.slot);
    if (slot === null) return { cause: 'slot-missing', detail: `there is no slot ${names.slot}` };
    if (slot.lostBecause !== null) {
      return { cause: 'slot-lost', detail: `slot ${names.slot} was invalidated: ${slot.lostBecause}` };
    }
    const { walStatus: status, retainedBytes } = slot;
    observer.emit({ type: 'slot.checked', slot: names.slot, status, retainedBytes });
    // The connector tries again and again, and calls that RUNNING.
    this.#unread = slot.activePid === null ? this.#unread + 1 : 0;
    if (this.#unread < LOOKS_UNREAD) return null;
    const stuck = await unreadableBecause((sql, params = []) => pool.query(sql, params), names.slot);
    return stuck === null
      ? null
      : { cause: 'slot-lost', detail: `slot ${names.slot} can give nothing any more: ${stuck}` };
  }

  /** Why the slot cannot bring what the connector has not published yet: it was made anew, or moved by hand. */
  async #findHole(): Promise<Gap | null> {
    const { names, pool, connect } = this.#options;
    const slot = await readSlot(pool, names.slot);
    // Offsets after the slot: they are stored before the slot is told of them, so they are never behind it.
    const published = connect && publishedUpTo((await connect.offsets(names.connector)) ?? []);
    if (published && slot?.confirmedLsn && parseLsn(slot.confirmedLsn) > published) {
      return {
        cause: 'slot-ahead',
        detail: `slot ${names.slot} stands at ${slot.confirmedLsn}, the connector has published up to ${formatLsn(published)}`,
      };
    }
    return null;
  }

  /** A connector that is stopped, by a mending that was cut short, goes on. */
  async #goOn(): Promise<void> {
    const { names, connect } = this.#options;
    if (connect === null) return;
    const state = await connect.state(names.connector);
    if (state === null) throw missing(names);
    if (state.connector === 'STOPPED') await connect.resume(names.connector);
  }

  async #beginAnew(gap: Gap): Promise<void> {
    const { names, pool, connect, whileBlocked } = this.#options;
    if (connect === null) {
      throw new FreshetError({
        code: gap.cause,
        message: gap.detail,
        hint: 'FRESHET_CONNECT_URL is not set here, so it cannot be mended by itself: `freshet connector register` says what to do.',
        retryable: true,
      });
    }
    if ((await connect.state(names.connector)) === null) throw missing(names);
    await connect.stop(names.connector);
    await this.#untilStopped(connect);
    await connect.deleteOffsets(names.connector);
    if ((await readSlot(pool, names.slot)) !== null) await dropSlot(pool, names.slot);
    await whileBlocked(() => createSlot(pool, names.slot, { failover: true }));
    await connect.resume(names.connector);
  }

  async #untilStopped(connect: ConnectClient): Promise<void> {
    const { names, pool, signal } = this.#options;
    for (const untilMs = performance.now() + STOP_LIMIT_MS; performance.now() < untilMs; ) {
      const state = await connect.state(names.connector);
      const slot = await readSlot(pool, names.slot);
      if (state?.connector === 'STOPPED' && state.task === null && slot?.activePid == null) return;
      await delay(STOP_LOOK_MS, undefined, { signal });
    }
    throw new FreshetError({
      code: 'connector-not-stopped',
      message: `connector ${names.connector} has not stopped within ${STOP_LIMIT_MS / 1000} s`,
      hint: 'It is tried again. Look at the log of Kafka Connect.',
      retryable: true,
    });
  }

  watch(onLost: (error: Error) => void): () => void {
    const over = new AbortController();
    void this.#watch(AbortSignal.any([over.signal, this.#options.signal]), onLost);
    return () => over.abort();
  }

  async #watch(signal: AbortSignal, onLost: (error: Error) => void): Promise<void> {
    const restarts = new Restarts(this.#options);
    while (!signal.aborted) {
      try {
        const loss = await this.#findLoss();
        const was = restarts.state;
        const isSteady = (await restarts.look()) === 'RUNNING' && was === 'RUNNING';
        const gap = loss ?? (isSteady ? null : await this.#findHole());
        if (gap) {
          if (!signal.aborted) onLost(new GapError(gap));
          return;
        }
      } catch {
        // Postgres or Connect is away: both are looked at again, and no beat comes meanwhile.
      }
      await delay(WATCH_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }
}

/** Restarts what has failed of the connector, with growing pauses. */
class Restarts {
  readonly #options: DebeziumSourceOptions;
  #state: string | null = null;
  #pauseMs = FIRST_RESTART_MS;
  #changedAtMs = performance.now();

  constructor(options: DebeziumSourceOptions) {
    this.#options = options;
  }

  /** At the last look. */
  get state(): string | null {
    return this.#state;
  }

  /** The task's state, or that of a connector without one; null where nobody can be asked. */
  async look(): Promise<string | null> {
    const { names, connect, observer } = this.#options;
    if (connect === null) return null;
    const found = await connect.state(names.connector);
    const state = found === null ? 'MISSING' : (found.task ?? found.connector);
    const nowMs = performance.now();
    if (state !== this.#state) {
      const trace = found?.trace ?? null;
      observer.emit({ type: 'connector.state', connector: names.connector, state, trace });
      this.#state = state;
      this.#changedAtMs = nowMs;
    }
    const sinceMs = nowMs - this.#changedAtMs;
    if (state === 'RUNNING' && sinceMs > WELL_AFTER_MS) this.#pauseMs = FIRST_RESTART_MS;
    if (state !== 'FAILED' || sinceMs < this.#pauseMs) return state;
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_RESTART_MS);
    this.#changedAtMs = nowMs;
    await connect.restartFailed(names.connector);
    return state;
  }
}

/** The newest place in the log that the connector has stored; null while it has stored none. */
function publishedUpTo(offsets: readonly SourceOffset[]): bigint | null {
  const places = offsets.flatMap(({ offset }) =>
    ['lsn', 'lsn_proc', 'lsn_commit'].flatMap(name => {
      const place = offset?.[name];
      return typeof place === 'number' || typeof place === 'string' ? [BigInt(place)] : [];
    }),
  );
  return places.reduce<bigint | null>((most, place) => (most === null || place > most ? place : most), null);
}

const missing = ({ connector }: KafkaNames): FreshetError =>
  new FreshetError({
    code: 'connector-missing',
    message: `Kafka Connect knows no connector ${connector}`,
    hint: '`freshet connector register` makes it.',
    retryable: true,
  });
