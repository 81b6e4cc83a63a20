import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { epochOf, gapsOpened, isNotProven, warm } from '../support/gap.ts';
import { History } from '../support/history.ts';
import { kafkaChain, kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { startConnect, type TestConnect } from '../support/kafka-servers.ts';
import { namespace } from '../support/namespace.ts';
import { printFigures, unprovenMs, untilProvenSince } from '../support/proof.ts';
import { startPostgres, type TestServer } from '../support/servers.ts';
import { type Scene, underTraffic } from '../support/under-traffic.ts';
import { bodyOf, pathsOf, startWrites, versionedRows } from '../support/versioned-rows.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const ROWS = 24;
/** From the moment Connect takes orders again to the first proof. */
const BACK_WITHIN_MS = 30_000;

interface Hole {
  readonly what: string;
  /** Behind a change that the slot would have brought. */
  readonly dig: (world: World) => Promise<unknown>;
  readonly causes: readonly string[];
  /** Whether the workers are away as well, and come only when Connect runs already. */
  readonly workersAway?: boolean;
}

const drop = (world: World): Promise<unknown> =>
  eventually(
    'the slot is dropped',
    () => world.database.query('select pg_drop_replication_slot($1)', [world.slot]),
    () => true,
  );

/** Log of several segments, then a checkpoint that throws the oldest of them away. */
async function outgrow(world: World): Promise<void> {
  for (let segment = 0; segment < 6; segment += 1) {
    await world.database.query("select pg_logical_emit_message(false, 'filler', repeat('x', 1000))");
    await world.database.query('select pg_switch_wal()');
  }
  await world.database.query('checkpoint');
  await eventually(
    'the slot is invalidated',
    () =>
      world.database.query('select wal_status from pg_replication_slots where slot_name = $1', [world.slot]),
    ({ rows }) => (rows[0] as { wal_status: string }).wal_status === 'lost',
  );
}

const HOLES: readonly Hole[] = [
  { what: 'dropped', dig: drop, causes: ['slot-missing'] },
  {
    what: 'dropped and made anew',
    dig: async world => {
      await drop(world);
      await world.database.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [world.slot]);
    },
    causes: ['slot-ahead', 'slot-missing', 'beat-missing'],
  },
  {
    what: 'advanced by hand',
    dig: world =>
      eventually(
        'the slot is advanced',
        () =>
          world.database.query('select pg_replication_slot_advance($1, pg_current_wal_lsn())', [world.slot]),
        () => true,
      ),
    // Where Connect goes on before a worker has looked, the beats in the hole are missing.
    causes: ['slot-ahead', 'beat-missing'],
  },
  { what: 'invalidated for want of room', dig: outgrow, causes: ['slot-lost'] },
  {
    what: 'dropped, and the workers were away as well',
    dig: drop,
    causes: ['slot-missing', 'slot-ahead', 'beat-missing'],
    workersAway: true,
  },
];

describe('a slot that loses what Connect has not seen, while Connect is down', () => {
  let server: TestServer;
  let connect: TestConnect;
  let world: World;
  let api: ApiProcess;
  let worker: TestProcess;
  let scene: Scene;
  let epochs: EpochWatch;

  beforeAll(async () => {
    const { brokers } = await kafkaChain();
    [server, connect] = await Promise.all([
      startPostgres({
        settings: { max_slot_wal_keep_size: '16MB', min_wal_size: '32MB', max_wal_size: '32MB' },
      }),
      startConnect({ brokers }, { group: namespace() }),
    ]);
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      databaseUrl: server.url,
      feed: 'kafka',
      kafka: { chain: { brokers, connectUrl: connect.url } },
      schema: `${versionedRows('places', ROWS)} ${versionedRows('bogs', HOLES.length)}`,
      config: defineConfig({ resources: { places: table('places', cold), bogs: table('bogs', cold) } }),
    });
    worker = await world.worker();
    api = await world.api();
    const history = new History({ ...pathsOf('places', ROWS), ...pathsOf('bogs', HOLES.length) });
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
    await world?.close();
    await Promise.all([connect?.stop(), server?.stop()]);
  });

  test.each(HOLES)(
    '$what: told, made anew under a new epoch, by itself',
    async hole => {
      const { what, dig, causes, workersAway = false } = hole;
      const id = HOLES.indexOf(hole) + 1;
      const path = `/bogs/${id}`;
      await warm(api, path);
      const before = await epochOf(world);
      const told = workersAway ? 0 : gapsOpened(worker).length;
      let [sinceMs, backMs] = [0, 0];

      const verdict = await underTraffic(scene, async () => {
        sinceMs = Date.now();
        if (workersAway) await worker.stop();
        await connect.kill();
        // Changed once, in the hole, and never again: nothing that comes later makes good for it.
        await scene.history.write({ [path]: bodyOf(id, 1) }, () =>
          world.database.query('update bogs set version = 1 where id = $1', [id]),
        );
        // A second without a proof: beats lie in the hole too.
        await isNotProven(api);
        await dig(world);
        await connect.restart();
        const restartedMs = performance.now();
        if (workersAway) {
          await eventually(
            'the connector runs, or says why it does not',
            () => world.kafka!.connect.state(world.kafka!.names.connector),
            state => state?.task === 'RUNNING' || state?.task === 'FAILED',
            20_000,
          );
          worker = await world.worker();
        }
        backMs = await untilProvenSince(api, restartedMs, 60_000);
      });

      const causesTold = gapsOpened(worker).slice(told);
      printFigures(`slot ${what}`, {
        gaps: causesTold.join(' '),
        'epochs given': epochs.given.length,
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, sinceMs),
        ...verdict,
      });
      expect(causes).toContain(causesTold[0]);
      expect(await epochOf(world)).not.toBe(before);
      expect(epochs.given.length).toBeGreaterThanOrEqual(2);
      const { rows } = await world.database.query(
        'select active, wal_status from pg_replication_slots where slot_name = $1',
        [world.slot],
      );
      expect(rows).toEqual([{ active: true, wal_status: 'reserved' }]);
      const { connect: rest, names } = world.kafka!;
      expect(await rest.state(names.connector)).toMatchObject({ connector: 'RUNNING', task: 'RUNNING' });
      expect(backMs).toBeLessThan(BACK_WITHIN_MS);
    },
    120_000,
  );
});
