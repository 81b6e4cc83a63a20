import { partitionOfKey } from '../../connectors/kafka-client.ts';
import { BEAT_PREFIX } from './beat-message.ts';

/** Growth of a topic up to so many times its partitions shows in the first beat behind it. */
const WATCHED_GROWTH = 4;
/** Some 64 are tried for a partition on average. */
const MOST_TRIES = 1_000_000;

/** The key under which the connector publishes a logical message: its prefix, as JSON. */
const keyOf = (prefix: string): Buffer => Buffer.from(JSON.stringify({ prefix }));

/**
 * Prefixes of beats, one for each partition of a topic: the connector's producer places a message by a hash of its
 * prefix, so each is chosen to come out right. And each is chosen to come out *wrong* should the topic get more
 * partitions: a producer that knows of a partition which nobody here follows may send a change there, and from that
 * moment on no beat may prove anything.
 */
export function beatPrefixes(partitions: number): string[] {
  return Array.from({ length: partitions }, (_, partition) => {
    for (let i = 0; i < MOST_TRIES; i += 1) {
      const prefix = `${BEAT_PREFIX}${partition}.${i}`;
      if (
        partitionOfKey(keyOf(prefix), partitions) === partition &&
        movesWhenGrown(prefix, partition, partitions)
      ) {
        return prefix;
      }
    }
    throw new RangeError(`no prefix reaches partition ${partition} of ${partitions}`);
  });
}

function movesWhenGrown(prefix: string, partition: number, partitions: number): boolean {
  for (let more = partitions + 1; more <= partitions * WATCHED_GROWTH; more += 1) {
    if (partitionOfKey(keyOf(prefix), more) === partition) return false;
  }
  return true;
}
