import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ensureTopics } from '../../connectors/topics.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, gapsOpened, isNotProven, warm } from '../support/gap.ts';
import { History } from '../support/history.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { printFigures, unprovenMs, untilProvenSince } from '../support/proof.ts';
import { openRawTopic, partitionOfRow, type RawTopic, rowEvents } from '../support/raw-topic.ts';
import { type Scene, underTraffic } from '../support/under-traffic.ts';
import { bodyOf, pathsOf, startWrites, versionedRows } from '../support/versioned-rows.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const ROWS = 24;
const PARTITIONS = 4;
const BACK_WITHIN_MS = 20_000;

/** What the worker cannot do meanwhile: nothing at all, or nothing but to go on later. */
type Absence = 'stopped' | 'killed' | 'stopped in its tracks' | 'none';

interface Loss {
  readonly what: string;
  readonly absence: Absence;
  /** A change that nobody has read yet lies in the topic. */
  readonly lose: () => Promise<unknown>;
  /** What the gap may be called; none: nothing is lost. */
  readonly causes: readonly string[];
}

describe('a topic and its group', () => {
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let worker: TestProcess;
  let scene: Scene;
  let epochs: EpochWatch;

  const deleteRecords = async (): Promise<void> => {
    const { admin, names } = world.kafka!;
    for (const [partition, end] of await topic.ends())
      if (end > 0n) await admin.deleteRecords(names.topic, partition, end);
  };
  const remakeTopic = async (): Promise<void> => {
    const { admin, names } = world.kafka!;
    await admin.deleteTopic(names.topic);
    await eventually(
      'the topic is gone',
      () => admin.partitions(names.topic),
      partitions => partitions === null,
    );
    await eventually(
      'the topic is there again',
      () => ensureTopics(admin, names, { partitions: PARTITIONS }, () => {}),
      () => true,
    );
  };

  const LOSSES: readonly Loss[] = [
    {
      what: 'the group’s offsets are deleted',
      absence: 'stopped',
      lose: () => world.kafka!.admin.deleteGroup(world.kafka!.names.group),
      causes: ['offset-missing'],
    },
    {
      what: 'the group is moved ahead',
      absence: 'stopped',
      lose: async () => topic.moveGroup(await topic.ends()),
      causes: ['offset-ahead'],
    },
    {
      what: 'the group is moved back',
      absence: 'stopped',
      lose: () => topic.moveGroup(new Map(Array.from({ length: PARTITIONS }, (_, i) => [i, 0n]))),
      causes: [],
    },
    {
      what: 'records are deleted beyond what was read',
      absence: 'killed',
      lose: deleteRecords,
      causes: ['offset-out-of-range'],
    },
    {
      what: 'records are deleted beyond what was read',
      absence: 'stopped in its tracks',
      lose: deleteRecords,
      // The client answers an offset out of range by committing none.
      causes: ['offset-out-of-range', 'offset-missing', 'beat-missing'],
    },
    {
      what: 'the topic is deleted and made anew',
      absence: 'stopped',
      lose: remakeTopic,
      causes: ['offset-missing', 'offset-out-of-range'],
    },
    {
      what: 'the topic is deleted and made anew',
      absence: 'none',
      lose: remakeTopic,
      causes: ['offset-missing', 'offset-out-of-range', 'partitions-changed', 'beat-missing'],
    },
  ];

  beforeAll(async () => {
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: `${versionedRows('places', ROWS)} ${versionedRows('bogs', LOSSES.length)}`,
      config: defineConfig({ resources: { places: table('places', cold), bogs: table('bogs', cold) } }),
    });
    topic = await openRawTopic(world.kafka!);
    worker = await world.worker();
    api = await world.api();
    const history = new History({ ...pathsOf('places', ROWS), ...pathsOf('bogs', LOSSES.length) });
    scene = {
      api,
      history,
      tags: new Tags(),
      reads: Object.keys(pathsOf('places', ROWS)),
      startWrites: () => startWrites(world, history, 'places', ROWS),
    };
  }, kafkaStartLimitMs);
  beforeEach(async () => {
    await world.fresh(api);
    epochs = await watchEpochs(world);
  });
  afterEach(() => epochs?.close());
  afterAll(async () => {
    await topic?.close();
    await world?.close();
  });

  const leave: Readonly<Record<Absence, () => Promise<unknown>>> = {
    stopped: () => worker.stop(),
    killed: () => worker.kill(),
    'stopped in its tracks': async () => worker.signal('SIGSTOP'),
    none: async () => {},
  };

  test.each(LOSSES)(
    '$what, the worker $absence: never silently gone on from',
    async loss => {
      const { what, absence, lose, causes } = loss;
      const id = LOSSES.indexOf(loss) + 1;
      const path = `/bogs/${id}`;
      await warm(api, path);
      const before = await epochOf(world);
      const isAway = absence === 'stopped' || absence === 'killed';
      const told = isAway ? 0 : gapsOpened(worker).length;
      let [sinceMs, backMs] = [0, 0];

      const verdict = await underTraffic(scene, async () => {
        sinceMs = Date.now();
        const since = await topic.ends();
        await leave[absence]();
        // Changed once, and told once: in what is lost.
        await scene.history.write({ [path]: bodyOf(id, 1) }, () =>
          world.database.query('update bogs set version = 1 where id = $1', [id]),
        );
        const partition = partitionOfRow(id, PARTITIONS);
        await eventually(
          'the change lies in the topic',
          async () => rowEvents(await topic.readSince(since)),
          events => events.some(event => event.table === 'bogs' && event.partition === partition),
        );
        await lose();
        if (absence !== 'none') await isNotProven(api);
        const healedMs = performance.now();
        if (isAway) worker = await world.worker();
        else worker.signal('SIGCONT');
        backMs = await untilProvenSince(api, healedMs);
      });

      const causesTold = gapsOpened(worker).slice(told);
      printFigures(`${what}, the worker ${absence}`, {
        gaps: causesTold.join(' ') || 'none',
        'epochs given': epochs.given.length,
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, sinceMs),
        ...verdict,
      });
      expect(backMs).toBeLessThan(BACK_WITHIN_MS);
      if (causes.length === 0) {
        expect([causesTold, epochs.given]).toEqual([[], []]);
        return;
      }
      expect(causes).toContain(causesTold[0]);
      expect(epochs.given.length).toBeGreaterThanOrEqual(2);
      expect(await epochOf(world)).not.toBe(before);
    },
    90_000,
  );
});
