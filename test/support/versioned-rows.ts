import { setTimeout as delay } from 'node:timers/promises';
import type { History } from './history.ts';
import type { World } from './world.ts';

/** Rows `(id, version)` whose versions only go up: a body says of itself which state it is. */
export const versionedRows = (name: string, rows: number): string =>
  `create table ${name} (id int primary key, version int not null default 0);
   insert into ${name} select n, 0 from generate_series(1, ${rows}) n;`;

export const bodyOf = (id: number, version: number): string => JSON.stringify({ id, version });

/** The paths of `versionedRows`, as they are at first. */
export const pathsOf = (name: string, rows: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: rows }, (_, i) => [`/${name}/${i + 1}`, bodyOf(i + 1, 0)]));

export interface Writes {
  /** Acknowledged so far. */
  readonly count: number;
  stop(): Promise<void>;
}

/** Between two writes, so that some reads find a row that was not just changed. */
const PAUSE_MS = 25;

/** Changes one row after the other, each by a transaction of its own. */
export async function startWrites(
  world: Pick<World, 'database'>,
  history: History,
  name: string,
  rows: number,
): Promise<Writes> {
  const client = await world.database.connect();
  let running = true;
  let count = 0;
  const loop = (async () => {
    for (let n = 0; running; n += 1) {
      const id = (n % rows) + 1;
      const { version: before } = JSON.parse(history.newest(`/${name}/${id}`)!) as { version: number };
      const version = before + 1;
      await history.write({ [`/${name}/${id}`]: bodyOf(id, version) }, () =>
        client.query(`update ${name} set version = $2 where id = $1`, [id, version]),
      );
      count += 1;
      await delay(PAUSE_MS);
    }
  })();
  loop.catch(() => {});
  return {
    get count() {
      return count;
    },
    async stop() {
      running = false;
      await loop;
      await client.end();
    },
  };
}
