import type pg from 'pg';
import { eventually } from './eventually.ts';
import type { ApiProcess, World } from './world.ts';

/** One answer, and how certainly old it was. */
export interface Judged {
  readonly status: number;
  readonly cacheStatus: string;
  /** Milliseconds between the acknowledgement of the next version and the sending of this read; 0: maybe current. */
  readonly staleMs: number;
}

/**
 * Writers that change rows all the time, and readers that hold every answer against what was acknowledged before
 * they asked. All by one monotonic clock. Rows are `places (id, version)`, whose versions only go up.
 */
export interface Traffic {
  readonly judged: readonly Judged[];
  /** Waits until `count` more reads have been answered. */
  reads(count: number): Promise<void>;
  /** Ends it and throws what went wrong on the way. */
  stop(): Promise<void>;
}

const READERS = 4;
/** Between two writes, so that some reads find a row that was not just changed. */
const WRITE_EVERY_MS = 10;

export async function startTraffic(world: World, api: ApiProcess, rows: number): Promise<Traffic> {
  const judged: Judged[] = [];
  /** Id → when each version was acknowledged; index: version. */
  const acknowledged = new Map<number, number[]>();
  for (let id = 1; id <= rows; id += 1) acknowledged.set(id, [Number.NEGATIVE_INFINITY]);
  let running = true;
  const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

  async function write(client: pg.Client): Promise<void> {
    for (let n = 0; running; n += 1) {
      const id = (n % rows) + 1;
      await client.query('update places set version = version + 1 where id = $1', [id]);
      acknowledged.get(id)!.push(performance.now());
      await pause(WRITE_EVERY_MS);
    }
  }

  async function read(first: number): Promise<void> {
    for (let n = first; running; n += 1) {
      const id = (n % rows) + 1;
      const sentMs = performance.now();
      const { status, headers, body } = await api.get(`/places/${id}`);
      const version = status === 200 ? (JSON.parse(body) as { version: number }).version : null;
      // The next version is not there yet, as far as this process knows: then nothing is certain.
      const nextAckMs = version === null ? Number.POSITIVE_INFINITY : acknowledged.get(id)![version + 1];
      judged.push({
        status,
        cacheStatus: headers['cache-status']!,
        staleMs: Math.max(0, sentMs - (nextAckMs ?? Number.POSITIVE_INFINITY)),
      });
      await pause(1);
    }
  }

  const client = await world.database.connect();
  const loops = [write(client), ...Array.from({ length: READERS }, (_, i) => read(i))];
  let failure: unknown;
  for (const loop of loops) loop.catch((error: unknown) => (failure ??= error));

  return {
    judged,
    async reads(count) {
      const until = judged.length + count;
      await eventually(
        `${count} reads are answered`,
        () => {
          if (failure) throw failure;
          return judged.length;
        },
        seen => seen >= until,
        30_000,
      );
    },
    async stop() {
      running = false;
      await Promise.all(loops);
      await client.end();
    },
  };
}
