import type { KafkaAdmin, OffsetRange } from '../../connectors/kafka-client.ts';
import type { KafkaNames } from '../../connectors/names.ts';
import type { DatabaseSystem } from '../../shared/origin/adopt.ts';
import type { FeedPosition, Gap, Memory } from './feed.ts';

/** What is known of one partition when it is taken over. */
export interface PartitionState {
  /** `topic/partition`, for messages. */
  readonly place: string;
  readonly remembered: FeedPosition | null;
  /** Of the group; null where it has none. */
  readonly committed: bigint | null;
  readonly range: OffsetRange;
  readonly system: Pick<DatabaseSystem, 'id' | 'timeline'>;
}

/**
 * From which offset a partition goes on. Positions are remembered before they are committed, so what is committed is
 * never beyond what is remembered; and a topic never holds less than what was read of it. Everything else is a gap:
 * then it goes on with what comes from now on, never silently.
 */
export function startOf(state: PartitionState): { readonly offset: bigint; readonly gap: Gap | null } {
  const { committed, range } = state;
  const gap = gapOf(state);
  const isThere = committed !== null && committed >= range.earliest && committed <= range.latest;
  return { offset: isThere ? committed : range.latest, gap };
}

function gapOf({ place, remembered, committed, range, system }: PartitionState): Gap | null {
  if (remembered?.offset === undefined) {
    const cause = remembered === null && committed === null ? 'first-start' : 'position-unknown';
    return { cause, detail: `${place}: nothing is remembered of how far changes were applied` };
  }
  if (remembered.system !== system.id) {
    return { cause: 'other-system', detail: `database system ${system.id}, remembered ${remembered.system}` };
  }
  if (remembered.timeline !== String(system.timeline)) {
    return {
      cause: 'other-timeline',
      detail: `timeline ${system.timeline}, remembered ${remembered.timeline}`,
    };
  }
  const applied = BigInt(remembered.offset);
  if (committed === null) {
    return {
      cause: 'offset-missing',
      detail: `${place}: the group has no offset, changes were applied up to ${applied}`,
    };
  }
  if (committed > applied) {
    return {
      cause: 'offset-ahead',
      detail: `${place}: the group stands at ${committed}, changes were applied up to ${applied}`,
    };
  }
  const { earliest, latest } = range;
  if (committed < earliest || applied > latest) {
    return {
      cause: 'offset-out-of-range',
      detail: `${place}: the group stands at ${committed}, changes were applied up to ${applied}, the topic holds ${earliest} to ${latest}`,
    };
  }
  return null;
}

export interface LocateOptions {
  readonly names: Pick<KafkaNames, 'group' | 'topic'>;
  readonly admin: Pick<KafkaAdmin, 'committed' | 'ranges'>;
  readonly system: Pick<DatabaseSystem, 'id' | 'timeline'>;
  readonly partitions: readonly number[];
  readonly remembered: Memory['remembered'];
}

export interface Located {
  readonly starts: ReadonlyMap<number, bigint>;
  /** What was remembered; null where nothing was, and where it is not what the partition goes on from. */
  readonly positions: ReadonlyMap<number, FeedPosition | null>;
  readonly gap: Gap | null;
}

/** Where each partition goes on, and whether that is where it was left. */
export async function locate(options: LocateOptions): Promise<Located> {
  const { names, admin, system, partitions, remembered } = options;
  const positions = new Map<number, FeedPosition | null>();
  for (const partition of partitions) positions.set(partition, await remembered(partition));
  // Ranges last: what was committed is never beyond them because it grew meanwhile.
  const committed = await admin.committed(names.group, names.topic);
  const ranges = await admin.ranges(names.topic);
  const starts = new Map<number, bigint>();
  let gap: Gap | null = null;
  for (const [partition, position] of positions) {
    const found = startOf({
      place: `${names.topic}/${partition}`,
      remembered: position,
      committed: committed.get(partition) ?? null,
      range: ranges.get(partition) ?? { earliest: 0n, latest: 0n },
      system,
    });
    starts.set(partition, found.offset);
    if (found.gap) positions.set(partition, null);
    gap ??= found.gap;
  }
  return { starts, positions, gap };
}
