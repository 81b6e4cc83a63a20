import { FreshetError } from '../../shared/errors.ts';
import type { Change, Feed, FeedItem, FeedPosition, Gap, Memory, Taken } from '../../workers/feed/feed.ts';

/** An item before it has a place in the log. */
export type LogItem =
  | { readonly kind: 'change'; readonly change: Change }
  | {
      readonly kind: 'beat';
      readonly writer: string;
      readonly number: number;
      readonly incarnation: string | null;
    }
  | { readonly kind: 'unreadable'; readonly table: string | null; readonly xid: bigint | null }
  /** Somebody else's: it takes a place and says nothing. */
  | { readonly kind: 'foreign' };

/** A log in memory whose partitions several workers share, as a broker's group would let them. */
export interface SharedLog {
  readonly partitions: number;
  /** Up to where each partition was acknowledged. */
  readonly committed: ReadonlyMap<number, number>;
  lengthOf(partition: number): number;
  append(partition: number, ...items: readonly LogItem[]): void;
  /** Hands the partitions out anew; whoever is not named has none. Everybody is told with their next call. */
  give(shares: Readonly<Record<string, readonly number[]>>): void;
  /** What a worker sees of it. */
  feed(worker: string): Feed;
  /** Holds a worker up at its next call; resolves once it stands there, with what lets it go on. */
  stall(worker: string): Promise<() => void>;
}

export function sharedLog(partitions: number, signal: AbortSignal): SharedLog {
  const log: LogItem[][] = Array.from({ length: partitions }, () => []);
  const committed = new Map<number, number>();
  const shares = new Map<string, readonly number[]>();
  const stalled = new Map<string, { readonly until: Promise<void>; readonly arrived: () => void }>();
  let changed = Promise.withResolvers<void>();
  const tell = (): void => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const over = new Promise<void>(resolve => {
    signal.addEventListener('abort', () => {
      tell();
      resolve();
    });
  });
  const goesOn = (worker: string): Promise<unknown> => {
    stalled.get(worker)?.arrived();
    return Promise.race([stalled.get(worker)?.until, over]);
  };

  /** Something happens, or the time passes. */
  const happens = (waitMs: number): Promise<unknown> => {
    const timer = Promise.withResolvers<void>();
    const handle = setTimeout(timer.resolve, waitMs);
    return Promise.race([changed.promise, timer.promise]).finally(() => clearTimeout(handle));
  };

  return {
    partitions,
    committed,
    lengthOf: partition => log[partition]!.length,
    append(partition, ...items) {
      log[partition]!.push(...items);
      tell();
    },
    give(given) {
      shares.clear();
      for (const [worker, share] of Object.entries(given)) shares.set(worker, share);
      tell();
    },
    async stall(worker) {
      const until = Promise.withResolvers<void>();
      const arrived = Promise.withResolvers<void>();
      stalled.set(worker, { until: until.promise, arrived: arrived.resolve });
      tell();
      await arrived.promise;
      return () => {
        stalled.delete(worker);
        until.resolve();
      };
    },
    feed(worker) {
      let opened: readonly number[] = [];
      const cursors = new Map<number, number>();
      const settledBefore = new Map<number, number>();

      async function open({ remembered }: Memory): Promise<Taken> {
        for (;;) {
          signal.throwIfAborted();
          await goesOn(worker);
          const share = shares.get(worker) ?? [];
          if (share.length === 0) {
            await happens(1_000);
            continue;
          }
          const positions = new Map<number, FeedPosition | null>();
          let gap: Gap | null = null;
          for (const partition of share) {
            const position = await remembered(partition);
            const at = committed.get(partition) ?? null;
            const found = judge(position, at);
            positions.set(partition, found ? null : position);
            gap ??= found;
            cursors.set(partition, at ?? log[partition]!.length);
            settledBefore.set(partition, gap ? 0 : Number(position?.offset ?? 0));
          }
          opened = share;
          return { leads: share.includes(0), positions, gap };
        }
      }

      return {
        name: 'shared',
        partitions,
        beatPrefixes: [],
        recordOf: partition => `shared:${partition}`,
        open,
        async next(waitMs) {
          const come = (): FeedItem[] => opened.flatMap(partition => take(partition));
          await goesOn(worker);
          let items = come();
          if (items.length === 0 && !isMoved()) await happens(waitMs);
          await goesOn(worker);
          if (isMoved()) throw moved();
          items = items.length > 0 ? items : come();
          return items;
        },
        check() {
          if (isMoved()) throw moved();
        },
        positionOf: (_partition, settled) => ({ offset: settled }),
        acknowledge(partition, settled) {
          // A broker takes nothing from who has lost the partition.
          if (shares.get(worker)?.includes(partition)) committed.set(partition, Number(settled));
        },
        async close() {
          opened = [];
        },
      };

      function isMoved(): boolean {
        return (shares.get(worker) ?? []).join() !== opened.join();
      }

      function take(partition: number): FeedItem[] {
        const from = cursors.get(partition)!;
        const behind = log[partition]!.slice(from);
        const items = behind.flatMap((item, i): FeedItem | [] => {
          const offset = from + i;
          if (item.kind === 'foreign') return [];
          if (item.kind === 'change') {
            return { kind: 'change', partition, change: item.change, receivedMs: Date.now() };
          }
          if (item.kind === 'beat') {
            const { writer, number, incarnation } = item;
            const again = offset < settledBefore.get(partition)!;
            return { kind: 'beat', partition, beat: { writer, number, incarnation }, again };
          }
          const raw = Buffer.from('unreadable');
          return {
            ...item,
            partition,
            place: `shared/${partition}@${offset}`,
            raw,
            error: new TypeError('unreadable'),
          };
        });
        if (behind.length === 0) return [];
        const next = from + behind.length;
        cursors.set(partition, next);
        return [...items, { kind: 'mark', partition, position: String(next), committedMs: Date.now() }];
      }
    },
  };
}

function judge(position: FeedPosition | null, committed: number | null): Gap | null {
  if (position?.offset === undefined) {
    const cause = committed === null ? 'first-start' : 'position-unknown';
    return { cause, detail: 'nothing is remembered' };
  }
  if (committed !== null && committed > Number(position.offset)) {
    return { cause: 'offset-ahead', detail: `committed ${committed}, applied ${position.offset}` };
  }
  return null;
}

const moved = (): FreshetError =>
  new FreshetError({ code: 'feed-moved', message: 'partitions were handed out anew', retryable: true });
