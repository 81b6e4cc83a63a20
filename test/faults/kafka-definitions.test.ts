import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { partitionOfKey } from '../../connectors/kafka-client.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import {
  BOUND_MS,
  expectConverged,
  expectKept,
  type Judged,
  startReads,
  Tags,
} from '../support/checked-reads.ts';
import { eventually } from '../support/eventually.ts';
import { holdRound } from '../support/held-round.ts';
import { History, type Shown } from '../support/history.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { printFigures, untilProvenSince } from '../support/proof.ts';
import { openRawTopic, type RawTopic } from '../support/raw-topic.ts';
import { rolesOf, shareOf, untilShared } from '../support/worker-shares.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const PARTITIONS = 4;
const ROWS = 16;
/** What an ALTER may take from being sent to being acknowledged. */
const ALTERING_MS = 1_000;
/** No id is anybody's code. */
const FIRST_CODE = 101;

/** Definitions are followed by the worker that leads; the changes of other partitions are read by another one. */
describe('a definition that changes while two workers follow', () => {
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let workers: TestProcess[];

  beforeAll(async () => {
    const cold = { rewarm: 'never', warmUp: { top: 0 } } as const;
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: ['held', 'busy']
        .map(
          name => `create table ${name} (id int primary key, code int not null unique, version int not null);
                   insert into ${name} select n, n + ${FIRST_CODE - 1}, 0 from generate_series(1, ${ROWS}) n;`,
        )
        .join('\n')
        .concat('create table other (id int primary key);'),
      // One table at a time, so that one of them can be taken out.
      publication: 'create publication freshet for table held, busy, other',
      config: defineConfig({
        resources: { held: table('held', cold), busy: table('busy', cold), other: table('other', cold) },
      }),
    });
    topic = await openRawTopic(world.kafka!);
    workers = [await world.worker(), await world.worker()];
    api = await world.api();
    await untilShared(workers, PARTITIONS);
    await world.fresh(api);
  }, kafkaStartLimitMs);
  afterAll(async () => {
    await topic?.close();
    await world?.close();
  });

  test('a member that reads changes by a definition that is over puts the whole table in doubt', async () => {
    const { members } = rolesOf(workers);
    const share = shareOf(members[0]!);
    const codes = Array.from({ length: ROWS }, (_, i) => FIRST_CODE + i).filter(code =>
      share.includes(partitionOfKey(Buffer.from(JSON.stringify({ code })), PARTITIONS)),
    );
    expect(codes.length).toBeGreaterThan(2);
    const stateOf = async () => (await world.store.control())!.tables.get('held')!;
    const before = await stateOf();

    // It knows the definition of before, and asks for no other one until its round is over.
    const round = await holdRound(world, topic, share[0]!, 'other');
    await world.database.query('alter table held drop constraint held_pkey, add primary key (code)');
    await eventually(
      'the leader lets the table be cached again',
      stateOf,
      ({ generation, digest }) => generation !== before.generation && digest !== null,
    );
    const since = await topic.ends();
    for (const code of codes) {
      const answer = await eventually(
        `row ${code} is cached`,
        () => api.get(`/held/${code}`),
        ({ headers }) => headers['cache-status'] === 'freshet; hit; detail=GUARDED',
      );
      expect(JSON.parse(answer.body)).toEqual({ id: code - FIRST_CODE + 1, code, version: 0 });
    }
    await world.database.query('update held set version = 1');
    await eventually(
      'the changes lie in the topic',
      async () =>
        (await topic.readSince(since)).filter(
          ({ value, partition }) =>
            share.includes(partition) && /"code":\d+,"version":1/.test(value!.toString()),
        ).length,
      count => count === codes.length,
    );
    await round.release();
    await untilProvenSince(api, performance.now());
    for (const code of codes) {
      const { body } = await api.get(`/held/${code}`);
      expect(JSON.parse(body)).toEqual({ id: code - FIRST_CODE + 1, code, version: 1 });
    }
    const doubts = members[0]!
      .log()
      .split('\n')
      .filter(line => line.includes('"event":"generation.raised"') && line.includes('"table":"held"'));
    expect(doubts.map(line => (JSON.parse(line) as { cause: string }).cause)).toContain('definition');
  }, 60_000);

  test('keys, types and the publication change under writers and readers: no answer is staler than the bound', async () => {
    const versions = new Map(Array.from({ length: ROWS }, (_, i) => [i + 1, 0]));
    let key: 'id' | 'code' = 'id';
    let isText = false;
    const paths = Array.from({ length: ROWS }, (_, i) => [
      `/busy/${i + 1}`,
      `/busy/${FIRST_CODE + i}`,
    ]).flat();
    const shown = (path: string): Shown => {
      const segment = Number(path.slice('/busy/'.length));
      const id = key === 'id' ? segment : segment - FIRST_CODE + 1;
      const version = versions.get(id);
      if (version === undefined) return null;
      return JSON.stringify({ id, code: id + FIRST_CODE - 1, version: isText ? String(version) : version });
    };
    const states = (): Record<string, Shown> => Object.fromEntries(paths.map(path => [path, shown(path)]));
    const history = new History(states());
    const tags = new Tags();
    const client = await world.database.connect();
    const reads = startReads(api, history, tags, { readers: 3 });

    let writes = 0;
    const write = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 1, writes += 1) {
        const id = (writes % ROWS) + 1;
        const version = versions.get(id)! + 1;
        versions.set(id, version);
        const path = `/busy/${key === 'id' ? id : id + FIRST_CODE - 1}`;
        await history.write({ [path]: shown(path) }, () =>
          client.query('update busy set version = $2 where id = $1', [
            id,
            isText ? String(version) : version,
          ]),
        );
        await delay(5);
      }
    };
    const rekey = async (to: 'id' | 'code'): Promise<void> => {
      key = to;
      await history.write(states(), () =>
        client.query(`alter table busy drop constraint busy_pkey, add primary key (${to})`),
      );
    };
    const retype = async (toText: boolean): Promise<void> => {
      isText = toText;
      const type = toText ? 'text' : 'int';
      await history.write(states(), () =>
        client.query(`alter table busy alter version type ${type} using version::${type}`),
      );
    };
    const ALTERATIONS: readonly (() => Promise<unknown>)[] = [
      () => rekey('code'),
      () => retype(true),
      () => client.query('alter publication freshet drop table busy'),
      () => client.query('alter publication freshet add table busy'),
      () => rekey('id'),
      () => retype(false),
    ];
    const alteredMs: number[] = [];
    for (const alter of ALTERATIONS) {
      await write(60);
      await alter();
      alteredMs.push(performance.now());
      // At once, by whatever anybody still holds for true.
      await write(20);
    }
    await untilProvenSince(api, performance.now());
    await expectConverged(api, history, tags);
    await reads.stop();
    // A row of now under the key or the type of before is neither: right as long as the alteration is no older than the bound.
    const isMixed = ({ staleMs, sentMs, body }: Judged): boolean =>
      staleMs === null &&
      /^\{"id":\d+,"code":\d+,"version":"?\d+"?\}$/.test(body) &&
      alteredMs.some(ms => ms - sentMs < ALTERING_MS && sentMs - ms < BOUND_MS);
    // Only FRESH says that the definition is that of now as well: in another mode it is what a worker told of last.
    const judged = reads.judged.filter(({ cacheStatus }) => !cacheStatus.includes('GUARDED'));
    const mixed = judged.filter(isMixed);
    const verdict = expectKept(judged.filter(one => !isMixed(one)));
    printFigures(`${ALTERATIONS.length} alterations among ${writes} writes`, {
      'rows of now under a definition of before': mixed.length,
      'longest after the alteration, ms': Math.max(
        0,
        ...mixed.map(({ sentMs }) => sentMs - (alteredMs.findLast(ms => ms <= sentMs) ?? sentMs)),
      ),
      ...verdict,
    });
    await client.end();
  }, 90_000);
});
