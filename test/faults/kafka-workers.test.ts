import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { gapsClosed } from '../support/gap.ts';
import { History } from '../support/history.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { printFigures, unprovenMs, untilProvenSince } from '../support/proof.ts';
import { type Scene, underTraffic } from '../support/under-traffic.ts';
import { pathsOf, startWrites, versionedRows } from '../support/versioned-rows.ts';
import { rolesOf, shareOf, untilShared } from '../support/worker-shares.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const ROWS = 24;
const PARTITIONS = 4;
/** After which the group gives up a member that it does not hear of. */
const SESSION_MS = 6_000;
/** Behind it: taking over, the first beat, and a machine that is busy. */
const TAKE_OVER_MS = 5_000;
const STORM_MS = 15_000;
/** However long that takes: a busy machine may need seconds to start one. */
const LEAST_MOVES = 3;

describe('workers that share the partitions of a topic', () => {
  let world: World;
  let api: ApiProcess;
  let workers: TestProcess[];
  let scene: Scene;
  let epochs: EpochWatch;

  beforeAll(async () => {
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: versionedRows('places', ROWS),
      config: defineConfig({
        resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
      }),
    });
    workers = [await world.worker(), await world.worker()];
    api = await world.api();
    const history = new History(pathsOf('places', ROWS));
    scene = {
      api,
      history,
      tags: new Tags(),
      startWrites: () => startWrites(world, history, 'places', ROWS),
    };
  }, kafkaStartLimitMs);
  beforeEach(async () => {
    await untilShared(workers, PARTITIONS);
    await world.fresh(api);
    epochs = await watchEpochs(world);
  });
  afterEach(() => epochs?.close());
  afterAll(() => world?.close());

  const without = (gone: TestProcess): TestProcess[] => workers.filter(worker => worker !== gone);

  test.each(['leader', 'member'] as const)(
    'killed, the %s: its partitions move, and freshness returns by itself',
    async role => {
      const { leader, members } = rolesOf(workers);
      const victim = role === 'leader' ? leader : members[0]!;
      const share = shareOf(victim);
      let backMs = 0;
      let sinceMs = 0;
      const verdict = await underTraffic(scene, async () => {
        const killedMs = performance.now();
        sinceMs = Date.now();
        await victim.kill();
        backMs = await untilProvenSince(api, killedMs);
      });
      workers = without(victim);
      await untilShared(workers, PARTITIONS);
      printFigures(`${role} with partitions ${share.join(' ')} killed`, {
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, sinceMs),
        ...verdict,
      });
      expect(backMs).toBeLessThan(SESSION_MS + TAKE_OVER_MS);
      expect(epochs.given).toEqual([]);
      workers.push(await world.worker());
    },
    60_000,
  );

  test.each(['leader', 'member'] as const)(
    'stopped in good order, the %s: its partitions move at once',
    async role => {
      const { leader, members } = rolesOf(workers);
      const victim = role === 'leader' ? leader : members[0]!;
      let backMs = 0;
      let sinceMs = 0;
      const verdict = await underTraffic(scene, async () => {
        sinceMs = Date.now();
        expect(await victim.stop()).toBe(0);
        backMs = await untilProvenSince(api, performance.now());
      });
      workers = without(victim);
      await untilShared(workers, PARTITIONS);
      printFigures(`${role} stopped in good order`, {
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, sinceMs),
        ...verdict,
      });
      expect(backMs).toBeLessThan(SESSION_MS);
      expect(epochs.given).toEqual([]);
      workers.push(await world.worker());
    },
    60_000,
  );

  test('stopped in its tracks until others have its partitions, the leader goes on as one among others', async () => {
    const { leader, members } = rolesOf(workers);
    let backMs = 0;
    let rejoinedMs = 0;
    let sinceMs = 0;
    const verdict = await underTraffic(scene, async () => {
      sinceMs = Date.now();
      leader.signal('SIGSTOP');
      backMs = await untilProvenSince(api, performance.now());
      expect(members.flatMap(shareOf).toSorted()).toEqual([0, 1, 2, 3]);
      const continuedMs = performance.now();
      leader.signal('SIGCONT');
      await eventually(
        'the others have been given part of it',
        () => members.flatMap(shareOf).length,
        count => count < PARTITIONS,
        20_000,
      );
      await untilShared(workers, PARTITIONS);
      rejoinedMs = await untilProvenSince(api, continuedMs);
    });
    printFigures('leader stopped in its tracks', {
      'proven by the others after ms': backMs,
      'proven with it after ms': rejoinedMs,
      'not FRESH for ms': unprovenMs(api, sinceMs),
      ...verdict,
    });
    expect(epochs.given).toEqual([]);
  }, 60_000);

  test('come and go all the time, and it costs neither freshness nor the cache', async () => {
    let sinceMs = 0;
    let moves = 0;
    const staying = workers[0]!;
    const verdict = await underTraffic(scene, async () => {
      sinceMs = Date.now();
      const endMs = performance.now() + STORM_MS;
      /** One comes, one goes; two of these are at it at a time. */
      const passOn = async (gone: TestProcess | null): Promise<TestProcess> => {
        for (let last = gone; ; moves += 1) {
          const [next] = await Promise.all([world.worker(), last?.stop()]);
          if (performance.now() >= endMs && moves >= LEAST_MOVES) return next;
          last = next;
        }
      };
      workers = [staying, ...(await Promise.all([passOn(workers[1]!), passOn(null)]))];
    });
    await untilShared(workers, PARTITIONS);
    printFigures(`${moves} workers came and as many left`, {
      'epochs given': epochs.given.length,
      'not FRESH for ms': unprovenMs(api, sinceMs),
      ...verdict,
    });
    expect(epochs.given).toEqual([]);
    expect(gapsClosed(staying).slice(1)).toEqual([]);
  }, 60_000);
});
