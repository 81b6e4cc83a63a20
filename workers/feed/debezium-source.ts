import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { ConnectClient } from '../../connectors/connect-client.ts';
import type { KafkaNames } from '../../connectors/names.ts';
import { FreshetError } from '../../shared/errors.ts';
import type { Observer } from '../../shared/observe.ts';
import { GapError } from '../gap-error.ts';
import type { Gap } from './feed.ts';
import type { ChangeSource } from './kafka-feed.ts';
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

  constructor(options: DebeziumSourceOptions) {
    this.#options = options;
  }

  async ensure(): Promise<Gap | null> {
    const gap = await this.#findGap();
    if (gap === null) await this.#goOn();
    else await this.#beginAnew(gap);
    return gap;
  }

  /** Why the slot cannot bring what the connector has not published yet; null while it can. */
  async #findGap(): Promise<Gap | null> {
    const { names, pool, connect } = this.#options;
    const slot = await readSlot(pool, names.slot);
    if (slot === null) return { cause: 'slot-missing', detail: `there is no slot ${names.slot}` };
    if (slot.lostBecause !== null) {
      return { cause: 'slot-lost', detail: `slot ${names.slot} was invalidated: ${slot.lostBecause}` };
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
    await whileBlocked(() => createSlot(pool, names.slot));
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
        await this.#look();
        await restarts.look();
      } catch (error) {
        if (error instanceof GapError) {
          if (!signal.aborted) onLost(error);
          return;
        }
        // Postgres or Connect is away: both are looked at again, and no beat comes meanwhile.
      }
      await delay(WATCH_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /** @throws GapError */
  async #look(): Promise<void> {
    const { names, pool, observer } = this.#options;
    const gap = await this.#findGap();
    if (gap) throw new GapError(gap);
    const slot = await readSlot(pool, names.slot);
    if (!slot) return;
    const { walStatus: status, retainedBytes } = slot;
    observer.emit({ type: 'slot.checked', slot: names.slot, status, retainedBytes });
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

  async look(): Promise<void> {
    const { names, connect, observer } = this.#options;
    if (connect === null) return;
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
    if (state !== 'FAILED' || sinceMs < this.#pauseMs) return;
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_RESTART_MS);
    this.#changedAtMs = nowMs;
    await connect.restartFailed(names.connector);
  }
}

const missing = ({ connector }: KafkaNames): FreshetError =>
  new FreshetError({
    code: 'connector-missing',
    message: `Kafka Connect knows no connector ${connector}`,
    hint: '`freshet connector register` makes it.',
    retryable: true,
  });
