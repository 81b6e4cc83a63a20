import type { Beat } from './feed.ts';

/**
 * Prefix of the messages that carry beats. What follows names the partition a beat is meant for: a whole number, and
 * where a broker places messages by a hash of their prefix, a dot and whatever makes the hash come out right.
 */
export const BEAT_PREFIX = 'freshet.beat.';

/** The partition that a beat's prefix names. @throws TypeError for a prefix that no worker wrote. */
export function partitionOfPrefix(prefix: string): number {
  const [, partition] = /^freshet\.beat\.(\d{1,9})(?:\.[^.]*)?$/.exec(prefix) ?? [];
  if (partition !== undefined) return Number(partition);
  throw new TypeError(`expected a prefix like ${BEAT_PREFIX}0, got ${prefix.slice(0, 80)}`);
}

/** Null for a beat of another installation. @throws SyntaxError or TypeError for a message that no worker wrote. */
export function parseBeat(content: Buffer, own: string): Beat | null {
  const {
    writer,
    number,
    incarnation,
    namespace = own,
    partitions,
  } = JSON.parse(content.toString()) as Record<string, unknown>;
  if (typeof writer !== 'string' || !Number.isSafeInteger(number)) {
    throw new TypeError(`expected a beat with writer and number, got ${content.toString().slice(0, 200)}`);
  }
  if (namespace !== own) return null;
  return {
    writer,
    number: number as number,
    incarnation: typeof incarnation === 'string' ? incarnation : null,
    ...(typeof partitions === 'number' && { partitions }),
  };
}
