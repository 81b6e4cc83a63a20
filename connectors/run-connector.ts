import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../shared/errors.ts';
import type { ConnectClient, ConnectorState } from './connect-client.ts';
import type { KafkaNames } from './names.ts';
import type { Query } from './register.ts';
import { type ConnectorSlot, readConnectorSlot } from './slot-places.ts';
import { readTrace } from './task-trouble.ts';

export interface RunOptions {
  readonly client: Pick<ConnectClient, 'state' | 'stop' | 'resume' | 'restartFailed'>;
  readonly names: KafkaNames;
  readonly query: Query;
  readonly signal?: AbortSignal | undefined;
}

const LOOK_EVERY_MS = 100;
const RUN_LIMIT_MS = 60_000;
/** A task that hangs is given up by Connect after five seconds. */
const STOP_LIMIT_MS = 20_000;
/** A failure that Connect still reports of the run before goes away within this time. */
const FAILURE_IS_CERTAIN_AFTER_MS = 2_000;
/** A reader that has died without a word is noticed by then on one machine; over a network it takes longer. */
const READER_LIMIT_MS = 10_000;

/**
 * Returns when a task reads the slot: Connect's word alone comes before any data does. A connector that is stopped,
 * paused or has failed is started. `readerBefore`: the process of Postgres that served the run before this one.
 * @throws FreshetError `slot-in-use`, `connector-failed` (with the task's own words), `connector-not-streaming`.
 */
export async function runConnector(options: RunOptions, readerBefore: number | null): Promise<void> {
  const until = performance.now() + RUN_LIMIT_MS;
  let isOrdered = false;
  let failedAtMs: number | null = null;
  let seen: Sighting = { state: null, slot: null };
  for (; performance.now() < until; await pause(options)) {
    seen = await look(options);
    const { state, slot } = seen;
    // One that was just made has no state for a moment.
    if (!isOrdered && state !== null) {
      await order(options, state);
      isOrdered = true;
      continue;
    }
    const isRead = slot !== null && slot.activePid !== null && slot.activePid !== readerBefore;
    if (state?.task === 'RUNNING' && isRead) return;
    failedAtMs = state?.trace == null ? null : (failedAtMs ?? performance.now());
    if (failedAtMs !== null && performance.now() - failedAtMs > FAILURE_IS_CERTAIN_AFTER_MS) break;
  }
  throw seen.state?.trace == null ? notStreaming(options, seen) : failed(options, seen.state.trace);
}

/** What has to be ordered for a connector in that state to run. */
async function order(options: RunOptions, state: ConnectorState): Promise<void> {
  const { client, names } = options;
  if (state.task !== 'RUNNING') await untilSlotIsFree(options);
  if (state.connector === 'STOPPED' || state.connector === 'PAUSED') await client.resume(names.connector);
  if (state.connector === 'FAILED' || state.task === 'FAILED') await client.restartFailed(names.connector);
}

/** Returns when it has let go of its task and its slot. @throws FreshetError `connector-not-stopped`. */
export async function stopConnector(options: RunOptions): Promise<void> {
  const { client, names } = options;
  await client.stop(names.connector);
  for (const until = performance.now() + STOP_LIMIT_MS; performance.now() < until; await pause(options)) {
    const { state, slot } = await look(options);
    if (state?.connector === 'STOPPED' && state.task === null && slot?.activePid == null) return;
  }
  throw new FreshetError({
    code: 'connector-not-stopped',
    message: `connector ${names.connector} has not stopped within ${STOP_LIMIT_MS / 1000} s`,
    hint: 'The log of Connect tells more.',
    retryable: true,
  });
}

async function untilSlotIsFree(options: RunOptions): Promise<void> {
  const { names } = options;
  for (const until = performance.now() + READER_LIMIT_MS; ; await pause(options)) {
    const { slot, state } = await look(options);
    if (slot?.activePid == null || state?.task === 'RUNNING') return;
    if (performance.now() < until) continue;
    const reader = slot.reader === null ? '' : `, which calls itself "${slot.reader}"`;
    throw new FreshetError({
      code: 'slot-in-use',
      message: `slot ${names.slot} is read by somebody else: process ${slot.activePid} of Postgres${reader}`,
      hint: 'Is there another Connect with this connector? Stop it there, or set FRESHET_NAMESPACE: a namespace of its own has a slot of its own.',
      retryable: true,
    });
  }
}

function failed({ names }: RunOptions, trace: string): FreshetError {
  const { message, hint } = readTrace(trace);
  return new FreshetError({
    code: 'connector-failed',
    message: `connector ${names.connector} has failed: ${message}`,
    hint: hint ?? 'The log of Connect tells more.',
  });
}

function notStreaming({ names }: RunOptions, { state, slot }: Sighting): FreshetError {
  const seen = `connector ${state?.connector ?? 'missing'}, task ${state?.task ?? 'none'}`;
  const reader = slot === null ? 'there is no slot' : `its reader: ${slot.activePid ?? 'none'}`;
  return new FreshetError({
    code: 'connector-not-streaming',
    message: `connector ${names.connector} did not begin to read slot ${names.slot} within ${RUN_LIMIT_MS / 1000} s: ${seen}, ${reader}`,
    hint: 'The log of Connect tells what it waits for.',
    retryable: true,
  });
}

interface Sighting {
  readonly state: ConnectorState | null;
  readonly slot: ConnectorSlot | null;
}

const look = async ({ client, names, query }: RunOptions): Promise<Sighting> => ({
  state: await client.state(names.connector),
  slot: await readConnectorSlot(query, names.slot),
});

const pause = ({ signal }: RunOptions): Promise<void> => delay(LOOK_EVERY_MS, undefined, { signal });
