import { setTimeout as delay } from 'node:timers/promises';
import type { KafkaAdmin } from '../../connectors/kafka-client.ts';
import { FreshetError } from '../../shared/errors.ts';
import { GapError } from '../gap-error.ts';
import type { RecordBuffer } from './record-buffer.ts';

export interface TopicWatchOptions {
  readonly admin: Pick<KafkaAdmin, 'partitions' | 'ranges'>;
  readonly topic: string;
  /** How many are followed. */
  readonly partitions: number;
  readonly buffer: Pick<RecordBuffer, 'stuckSince'>;
  readonly signal: AbortSignal;
}

const LOOK_EVERY_MS = 2_000;
/** Records are there, and none comes: a consumer that hangs is begun anew. */
const STUCK_AFTER_MS = 10_000;

/** Resolves with what is wrong: the topic has other partitions, or what is in it does not come. Null: the signal aborted. */
export async function watchTopic(options: TopicWatchOptions): Promise<Error | null> {
  const { signal } = options;
  while (!signal.aborted) {
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    // The broker is away: the consumer notices by itself.
    const wrong = signal.aborted ? null : await look(options).catch(() => null);
    if (wrong && !signal.aborted) return wrong;
  }
  return null;
}

async function look({ admin, topic, partitions, buffer }: TopicWatchOptions): Promise<Error | null> {
  const found = await admin.partitions(topic);
  if (found !== partitions) {
    const detail = `topic ${topic} has ${found ?? 'no'} partitions, ${partitions} were followed`;
    return new GapError({ cause: 'partitions-changed', detail });
  }
  const stuck = buffer.stuckSince(await admin.ranges(topic), performance.now() - STUCK_AFTER_MS);
  if (stuck === null) return null;
  return new FreshetError({
    code: 'feed-stuck',
    message: `nothing has come of ${topic}/${stuck} for ${STUCK_AFTER_MS / 1000} s, and there is something`,
    retryable: true,
  });
}
