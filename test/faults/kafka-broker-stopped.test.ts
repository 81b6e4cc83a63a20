import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { isNotProven } from '../support/gap.ts';
import { History } from '../support/history.ts';
import {
  kafkaStartLimitMs,
  startBroker,
  startConnect,
  type TestBroker,
  type TestConnect,
} from '../support/kafka-servers.ts';
import { printFigures, unprovenMs, untilProvenSince } from '../support/proof.ts';
import { openRawTopic, type RawTopic, rowEvents } from '../support/raw-topic.ts';
import { type Scene, underTraffic } from '../support/under-traffic.ts';
import { pathsOf, startWrites, versionedRows } from '../support/versioned-rows.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const ROWS = 24;
/** From the moment the broker takes requests again to the first proof. */
const BACK_WITHIN_MS = 20_000;

interface Outage {
  readonly what: string;
  readonly end: (broker: TestBroker) => Promise<void>;
  readonly lastsMs: number;
}

const OUTAGES: readonly Outage[] = [
  { what: 'stopped in good order, for 15 s', end: broker => broker.halt(), lastsMs: 15_000 },
  { what: 'killed, for 2 s', end: broker => broker.kill(), lastsMs: 2_000 },
];

describe('a broker that is away', () => {
  let broker: TestBroker;
  let connect: TestConnect;
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let scene: Scene;
  let epochs: EpochWatch;

  beforeAll(async () => {
    broker = await startBroker();
    connect = await startConnect(broker);
    world = await openWorld({
      feed: 'kafka',
      kafka: { chain: { brokers: broker.brokers, connectUrl: connect.url } },
      schema: versionedRows('places', ROWS),
      config: defineConfig({
        resources: { places: table('places', { rewarm: 'never', warmUp: { top: 0 } }) },
      }),
    });
    topic = await openRawTopic(world.kafka!);
    await world.worker();
    await world.worker();
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
    await world.fresh(api);
    epochs = await watchEpochs(world);
  });
  afterEach(() => epochs?.close());
  afterAll(async () => {
    await topic?.close();
    await world?.close();
    await connect?.stop();
    await broker?.stop();
  });

  test.each(OUTAGES)(
    '$what: nothing is lost, and freshness returns by itself',
    async ({ what, end, lastsMs }) => {
      const since = await topic.ends();
      const writesBefore = scene.history.writes;
      let [sinceMs, backMs] = [0, 0];
      const verdict = await underTraffic(scene, async () => {
        sinceMs = Date.now();
        await end(broker);
        await isNotProven(api);
        await delay(sinceMs + lastsMs - Date.now());
        await broker.restart();
        backMs = await untilProvenSince(api, performance.now());
      });
      const told = rowEvents(await topic.readSince(since)).filter(({ table: name }) => name === 'places');
      const writes = scene.history.writes - writesBefore;
      printFigures(`broker ${what}`, {
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, sinceMs),
        'epochs given': epochs.given.length,
        writes,
        told: told.length,
        ...verdict,
      });
      expect(new Set(told.map(({ lsn }) => lsn)).size).toBe(writes);
      expect(epochs.given).toEqual([]);
      expect(backMs).toBeLessThan(BACK_WITHIN_MS);
    },
    120_000,
  );
});
