import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { expectConverged, expectKept, startReads, Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { History, type Shown } from '../support/history.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { printFigures, untilProvenSince } from '../support/proof.ts';
import { openRawTopic, partitionOfRow, type RawTopic, rowEvents } from '../support/raw-topic.ts';
import { bodyOf, versionedRows } from '../support/versioned-rows.ts';
import { untilShared } from '../support/worker-shares.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const PARTITIONS = 4;
const FAMILIES = 8;
const CHILDREN = 2;
const MOVERS = 6;
const NOTES = 10;
/** Writers are at it for so long. */
const LASTS_MS = 10_000;

/** The ids between which a mover goes to and fro: never in the same partition. */
const homesOf = (mover: number): [number, number] => {
  const first = mover;
  const second = Array.from({ length: 100 }, (_, i) => 1_000 + mover * 100 + i).find(
    id => partitionOfRow(id, PARTITIONS) !== partitionOfRow(first, PARTITIONS),
  )!;
  return [first, second];
};

describe('changes that belong together and lie in different partitions', () => {
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let workers: TestProcess[];
  let epochs: EpochWatch;

  beforeAll(async () => {
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: `${versionedRows('parents', FAMILIES)} ${versionedRows('children', FAMILIES * CHILDREN)}
               ${versionedRows('movers', MOVERS)} ${versionedRows('notes', NOTES)}
               alter table children add parent int;
               update children set parent = (id - 1) / ${CHILDREN} + 1`,
      config: defineConfig({
        resources: {
          parents: table('parents', cold),
          children: table('children', { ...cold, columns: ['id', 'version'] }),
          movers: table('movers', cold),
          notes: table('notes', cold),
        },
      }),
    });
    topic = await openRawTopic(world.kafka!);
    workers = [await world.worker(), await world.worker()];
    api = await world.api();
    await untilShared(workers, PARTITIONS);
    await world.fresh(api);
    epochs = await watchEpochs(world);
  }, kafkaStartLimitMs);
  afterAll(async () => {
    epochs?.close();
    await topic?.close();
    await world?.close();
  });

  const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
  const kept = (name: string, ids: readonly number[], version: number): Record<string, Shown> =>
    Object.fromEntries(ids.map(id => [`/${name}/${id}`, bodyOf(id, version)]));
  const gone = (name: string, ids: readonly number[]): Record<string, Shown> =>
    Object.fromEntries(ids.map(id => [`/${name}/${id}`, null]));

  test('are each shown within the bound, whichever worker reads them', async () => {
    const history = new History({
      ...kept('parents', range(FAMILIES), 0),
      ...kept('children', range(FAMILIES * CHILDREN), 0),
      ...kept('movers', range(MOVERS), 0),
      ...gone(
        'movers',
        range(MOVERS).map(mover => homesOf(mover)[1]),
      ),
      ...kept('notes', range(NOTES), 0),
    });
    const tags = new Tags();
    const since = await topic.ends();
    const counts = { families: 0, moves: 0, truncations: 0 };
    const endMs = performance.now() + LASTS_MS;

    // Each row stays as it is for longer than the bound: what is stale then was not just made good for by the next change.
    /** One writer of its own tables: transaction after transaction. */
    const writer = async (
      pauseMs: number,
      step: (n: number) => { changes: Record<string, Shown>; sql: string },
    ): Promise<void> => {
      const client = await world.database.connect();
      for (let n = 0; performance.now() < endMs; n += 1) {
        const { changes, sql } = step(n);
        await history.write(changes, () => client.query(sql));
        await delay(pauseMs);
      }
      await client.end();
    };

    const families = writer(100, n => {
      const parent = (n % FAMILIES) + 1;
      const version = Math.floor(n / FAMILIES) + 1;
      const children = range(CHILDREN).map(i => (parent - 1) * CHILDREN + i);
      counts.families += 1;
      return {
        changes: { ...kept('parents', [parent], version), ...kept('children', children, version) },
        sql: `begin;
              update children set version = ${version} where parent = ${parent};
              update parents set version = ${version} where id = ${parent};
              commit`,
      };
    });
    const movers = writer(250, n => {
      const [first, second] = homesOf((n % MOVERS) + 1);
      const round = Math.floor(n / MOVERS);
      const [from, to] = round % 2 === 0 ? [first, second] : [second, first];
      counts.moves += 1;
      return {
        changes: { ...gone('movers', [from]), ...kept('movers', [to], round + 1) },
        sql: `update movers set id = ${to}, version = ${round + 1} where id = ${from}`,
      };
    });
    const notes = writer(1_500, n => {
      const half = range(NOTES).filter(id => id % 2 === n % 2);
      const others = range(NOTES).filter(id => id % 2 !== n % 2);
      counts.truncations += 1;
      return {
        changes: { ...gone('notes', others), ...kept('notes', half, n + 1) },
        sql: `begin;
              truncate notes;
              insert into notes select id, ${n + 1} from unnest(array[${half.join(',')}]) id;
              commit`,
      };
    });

    const reads = startReads(api, history, tags, { readers: 4, pauseMs: 1 });
    await Promise.all([families, movers, notes]);
    await untilProvenSince(api, performance.now());
    await expectConverged(api, history, tags);
    await reads.stop();
    const verdict = expectKept(reads.judged);

    const events = rowEvents(await topic.readSince(since));
    printFigures('4 partitions, 2 workers', { ...counts, events: events.length, ...verdict });
    for (const name of ['parents', 'children', 'movers', 'notes']) {
      const partitions = new Set(events.flatMap(event => (event.table === name ? [event.partition] : [])));
      expect([name, partitions.size]).toEqual([name, PARTITIONS]);
    }
    expect(events.filter(({ op }) => op === 't')).toHaveLength(counts.truncations);
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(3);
    expect(epochs.given).toEqual([]);
  }, 90_000);
});
