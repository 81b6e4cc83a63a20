import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { Tags } from '../support/checked-reads.ts';
import { type EpochWatch, watchEpochs } from '../support/epochs.ts';
import { eventually } from '../support/eventually.ts';
import { History } from '../support/history.ts';
import { kafkaChain, kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { startConnect, type TestConnect } from '../support/kafka-servers.ts';
import { namespace } from '../support/namespace.ts';
import { printFigures, unprovenMs, untilProvenSince } from '../support/proof.ts';
import { openRawTopic, type RawTopic, rowEvents } from '../support/raw-topic.ts';
import { type Scene, underTraffic } from '../support/under-traffic.ts';
import { bodyOf, pathsOf, startWrites, versionedRows } from '../support/versioned-rows.ts';
import { type ApiProcess, openWorld, type World } from '../support/world.ts';

const ROWS = 24;
/** Of one statement; below what a worker answers with a new generation of the whole table. */
const MANY = 8_000;
/** Of these, read before and after. */
const LOOKED_AT = 100;
/** For so long Connect runs between two looks at how far it is. */
const STEP_MS = 5;
/** From the start of the killed Connect to the first proof. */
const BACK_WITHIN_MS = 20_000;

interface Statement {
  readonly what: string;
  readonly table: string;
  readonly sql: string;
  readonly op: 'c' | 'u' | 'd';
  /** Killed once this part of its rows is in the topic. */
  readonly part: number;
  readonly before: (id: number) => string | null;
  readonly after: (id: number) => string | null;
}

const COPY = (name: string): string =>
  `copy ${name} from program 'seq -f "%.0f,1" 1 ${MANY}' with (format csv)`;
const none = (): null => null;
const version = (of: number) => (id: number) => bodyOf(id, of);

/** COPY logs many rows as one: their places in the log are the same, and a connector cannot tell them apart by it. */
const STATEMENTS: readonly Statement[] = [
  { what: 'COPY', table: 'stars', sql: COPY('stars'), op: 'c', part: 0.2, before: none, after: version(1) },
  {
    what: 'UPDATE',
    table: 'stars',
    sql: 'update stars set version = 2',
    op: 'u',
    part: 0.3,
    before: version(1),
    after: version(2),
  },
  { what: 'COPY', table: 'moons', sql: COPY('moons'), op: 'c', part: 0.4, before: none, after: version(1) },
  {
    what: 'DELETE',
    table: 'stars',
    sql: 'delete from stars',
    op: 'd',
    part: 0.05,
    before: version(2),
    after: none,
  },
];

describe('Connect killed in the middle of a statement', () => {
  let connect: TestConnect;
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let scene: Scene;
  let epochs: EpochWatch;

  beforeAll(async () => {
    const { brokers } = await kafkaChain();
    // It writes down how far it is twenty times a second: the more often, the likelier between rows of one place.
    const settings = { 'offset.flush.interval.ms': 50 };
    connect = await startConnect({ brokers }, { group: namespace(), settings });
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      feed: 'kafka',
      kafka: { chain: { brokers, connectUrl: connect.url } },
      schema: `${versionedRows('places', ROWS)} ${versionedRows('stars', 0)} ${versionedRows('moons', 0)}`,
      config: defineConfig({
        resources: {
          places: table('places', cold),
          stars: table('stars', cold),
          moons: table('moons', cold),
        },
      }),
    });
    topic = await openRawTopic(world.kafka!);
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
  });

  const shown = async (path: string): Promise<string | null> => {
    const { status, body } = await api.get(path);
    return status === 404 ? null : body;
  };

  test.each(STATEMENTS)(
    'a $what, $part of it told: every row of it is shown, without a new epoch',
    async statement => {
      const { what, table: name, sql, op, part, before, after } = statement;
      const ids = Array.from({ length: LOOKED_AT }, (_, i) => 1 + i * (MANY / LOOKED_AT));
      for (const id of ids) expect([id, await shown(`/${name}/${id}`)]).toEqual([id, before(id)]);
      const since = await topic.ends();
      let [toldAtKill, backMs, killedMs] = [0, 0, 0];

      const verdict = await underTraffic(scene, async () => {
        process.kill(connect.pid, 'SIGSTOP');
        const start = await topic.grownBy(since);
        const { rowCount } = await world.database.query(sql);
        expect(rowCount).toBe(MANY);
        // In steps: a look at the topic takes longer than many rows.
        while (toldAtKill < MANY * part) {
          process.kill(connect.pid, 'SIGCONT');
          await delay(STEP_MS);
          process.kill(connect.pid, 'SIGSTOP');
          toldAtKill = (await topic.grownBy(since)) - start;
        }
        killedMs = Date.now();
        await connect.kill();
        await connect.restart();
        backMs = await untilProvenSince(api, performance.now());
      });

      const events = rowEvents(await topic.readSince(since)).filter(
        event => event.table === name && event.op === op,
      );
      const told = new Set(events.map(({ id }) => id));
      printFigures(`${what} of ${MANY} rows, Connect killed when ${toldAtKill} records were out`, {
        'rows told': told.size,
        'told twice': events.length - told.size,
        'places in the log': new Set(events.map(({ lsn }) => lsn)).size,
        'proven again after ms': backMs,
        'not FRESH for ms': unprovenMs(api, killedMs),
        ...verdict,
      });
      // Otherwise it was over before it was killed.
      expect(toldAtKill).toBeLessThan(MANY);
      expect(told.size).toBe(MANY);
      for (const id of ids) {
        await eventually(
          `row ${id}`,
          () => shown(`/${name}/${id}`),
          body => body === after(id),
          1_000,
        );
      }
      expect(epochs.given).toEqual([]);
      expect(backMs).toBeLessThan(BACK_WITHIN_MS);
    },
    90_000,
  );
});
