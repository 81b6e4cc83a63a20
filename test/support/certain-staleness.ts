import type pg from 'pg';
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
  /** Ends it and throws what went wrong on the way. */
  stop(): Promise<void>;
}

const READERS = 4;
/** Between two writes, so that some reads find a row that was not just changed. */
const WRITE_EVERY_MS = 10;

export async function startTraffic(world: World, api: ApiProcess, rows: number): Promise<Traffic> {
  const judged: Judged[] = [];
  /** Id and version → when it was acknowledged. */
  const acknowledgedMs = new Map<string, number>();
  let running = true;
  const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

  async function write(client: pg.Client): Promise<void> {
    for (let n = 0; running; n += 1) {
      const id = (n % rows) + 1;
      const { rows: written } = await client.query(
        'update places set version = version + 1 where id = $1 returning version',
        [id],
      );
      acknowledgedMs.set(`${id} ${(written[0] as { version: number }).version}`, performance.now());
      await pause(WRITE_EVERY_MS);
    }
  }

  async function read(first: number): Promise<void> {
    for (let n = first; running; n += 1) {
      const id = (n % rows) + 1;
      const sentMs = performance.now();
      const { status, headers, body } = await api.get(`/places/${id}`);
      const version = status === 200 ? (JSON.parse(body) as { version: number }).version : Number.NaN;
      // While the next version is not acknowledged, nothing is certain.
      const overtakenMs = acknowledgedMs.get(`${id} ${version + 1}`) ?? Number.POSITIVE_INFINITY;
      judged.push({
        status,
        cacheStatus: headers['cache-status']!,
        staleMs: Math.max(0, sentMs - overtakenMs),
      });
      await pause(1);
    }
  }

  const client = await world.database.connect();
  const loops = [write(client), ...Array.from({ length: READERS }, (_, i) => read(i))];
  // Told by `stop`; until then it is nobody's unhandled rejection.
  for (const loop of loops) loop.catch(() => {});

  return {
    judged,
    async stop() {
      running = false;
      await Promise.all(loops);
      await client.end();
    },
  };
}
