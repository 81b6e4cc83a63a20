import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../shared/errors.ts';
import type { ConnectClient, ConnectorState } from './connect-client.ts';
import type { KafkaNames } from './names.ts';
import type { Query } from './register.ts';
import { type ConnectorSlot, readConnectorSlot } from './slot-places.ts';
import { readTrace } from './task-trouble.ts';

export interface RunOptions {
  readonly client: ConnectClient;
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
  const { client, names } = options;
  const state = await client.state(names.connector);
  if (state?.task !== 'RUNNING') await untilSlotIsFree(options);
  if (state?.connector === 'STOPPED' || state?.connector === 'PAUSED') await client.resume(names.connector);
  if (state?.connector === 'FAILED' || state?.task === 'FAILED') await client.restartFailed(names.connector);
  await untilStreaming(options, readerBefore);
}

/** Returns when it has let go of its task and its slot. @throws FreshetError `connector-not-stopped`. */
export async function stopConnector(options: RunOptions): Promise<void> {
  const { client, names, query } = options;
  await client.stop(names.connector);
  for (const until = performance.now() + STOP_LIMIT_MS; performance.now() < until; await pause(options)) {
    const state = await client.state(names.connector);
    const slot = await readConnectorSlot(query, names.slot);
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
  const { client, names, query } = options;
  for (const until = performance.now() + READER_LIMIT_MS; ; await pause(options)) {
    const slot = await readConnectorSlot(query, names.slot);
    const state = await client.state(names.connector);
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

async function untilStreaming(options: RunOptions, readerBefore: number | null): Promise<void> {
  const { client, names, query } = options;
  const until = performance.now() + RUN_LIMIT_MS;
  let failedAtMs: number | null = null;
  let state: ConnectorState | null = null;
  let slot: ConnectorSlot | null = null;
  for (; performance.now() < until; await pause(options)) {
    state = await client.state(names.connector);
    slot = await readConnectorSlot(query, names.slot);
    const isRead = slot !== null && slot.activePid !== null && slot.activePid !== readerBefore;
    if (state?.task === 'RUNNING' && isRead) return;
    failedAtMs = state?.trace == null ? null : (failedAtMs ?? performance.now());
    if (failedAtMs !== null && performance.now() - failedAtMs > FAILURE_IS_CERTAIN_AFTER_MS) break;
  }
  throw state?.trace == null ? notStreaming(names, state, slot) : failed(names, state.trace);
}

function failed({ connector }: KafkaNames, trace: string): FreshetError {
  const { message, hint } = readTrace(trace);
  return new FreshetError({
    code: 'connector-failed',
    message: `connector ${connector} has failed: ${message}`,
    hint: hint ?? 'The log of Connect tells more.',
  });
}

function notStreaming(
  { connector, slot: name }: KafkaNames,
  state: ConnectorState | null,
  slot: ConnectorSlot | null,
): FreshetError {
  const seen = `connector ${state?.connector ?? 'missing'}, task ${state?.task ?? 'none'}`;
  const reader = slot === null ? 'there is no slot' : `its reader: ${slot.activePid ?? 'none'}`;
  return new FreshetError({
    code: 'connector-not-streaming',
    message: `connector ${connector} did not begin to read slot ${name} within ${RUN_LIMIT_MS / 1000} s: ${seen}, ${reader}`,
    hint: 'The log of Connect tells what it waits for.',
    retryable: true,
  });
}

const pause = ({ signal }: RunOptions): Promise<void> => delay(LOOK_EVERY_MS, undefined, { signal });
