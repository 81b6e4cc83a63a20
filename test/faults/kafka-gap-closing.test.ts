import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { ProcessRecord } from '../../shared/cache/store.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { keysOf } from '../../shared/resources/keys.ts';
import { beatPrefixes } from '../../workers/feed/beat-prefixes.ts';
import { type ControlLog, watchControl } from '../support/control-log.ts';
import { eventually } from '../support/eventually.ts';
import { beatsOf, gapsClosed, gapsOpened, isNotProven, warm } from '../support/gap.ts';
import { holdRound } from '../support/held-round.ts';
import { type HeldTransaction, holdTransaction } from '../support/held-transaction.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { untilProvenSince } from '../support/proof.ts';
import { openRawTopic, type RawTopic } from '../support/raw-topic.ts';
import { rolesOf, shareOf, untilShared } from '../support/worker-shares.ts';
import { type ApiProcess, openWorld, type TestProcess, type World } from '../support/world.ts';

const PARTITIONS = 4;

/** One worker leads and closes gaps; another one follows partitions beside it, and notices gaps of its own. */
describe('gaps of a topic that two workers share', () => {
  let world: World;
  let topic: RawTopic;
  let api: ApiProcess;
  let workers: TestProcess[];
  let leader: TestProcess;
  let member: TestProcess;
  /** One of the member's. */
  let partition: number;
  let control: ControlLog;
  let redis: Redis;
  let held: HeldTransaction[] = [];

  beforeAll(async () => {
    world = await openWorld({
      feed: 'kafka',
      kafka: { partitions: PARTITIONS },
      schema: `create table bays (id int primary key, name text); insert into bays values (1, 'Fundy');
               create table other (id int primary key)`,
      config: defineConfig({
        resources: { bays: table('bays', { warmUp: { top: 0 } }), other: table('other') },
      }),
    });
    topic = await openRawTopic(world.kafka!);
    redis = new Redis(world.cacheUrl);
    workers = [await world.worker(), await world.worker()];
    api = await world.api();
  }, kafkaStartLimitMs);
  beforeEach(async () => {
    await untilShared(workers, PARTITIONS);
    await world.fresh(api);
    const roles = rolesOf(workers);
    leader = roles.leader;
    member = roles.members[0]!;
    partition = shareOf(member)[0]!;
    control = await watchControl(world);
  });
  afterEach(async () => {
    control?.close();
    member?.signal('SIGCONT');
    await Promise.all(held.map(one => one.end()));
    held = [];
  });
  afterAll(async () => {
    redis?.disconnect();
    await topic?.close();
    await world?.close();
  });

  const hold = async (): Promise<HeldTransaction> => {
    const one = await holdTransaction(world.database.url);
    held.push(one);
    return one;
  };
  const leaderWaitsFor = ({ pid }: HeldTransaction): Promise<unknown> =>
    eventually(
      `the barrier waits for process ${pid} and no other`,
      () => world.store.processes(),
      (records: ProcessRecord[]) =>
        records.some(
          ({ role, waitingFor }) =>
            role === 'worker' && waitingFor?.length === 1 && waitingFor[0]!.pid === pid,
        ),
    );
  /** A beat of the partition that says others before it never came. */
  const loseBeats = (): Promise<unknown> =>
    world.database.query('select pg_logical_emit_message(false, $1, $2, true)', [
      beatPrefixes(PARTITIONS)[partition],
      JSON.stringify({ writer: `lost ${performance.now()}`, number: 1_000, incarnation: null }),
    ]);
  const epochs = (): string[] =>
    control.events.flatMap(event => (event.kind === 'epoch' && !event.closed ? [event.epoch] : []));
  const isClosed = async (): Promise<boolean> => (await world.store.standing())!.isClosed;
  const missed = (worker: TestProcess): number =>
    gapsOpened(worker).filter(cause => cause === 'beat-missing').length;

  test('one that a member notices is closed by the worker that leads', async () => {
    await warm(api, '/bays/1');
    const [noticed, closed] = [missed(member), gapsClosed(leader).length];
    await loseBeats();
    await eventually(
      'the member notices',
      () => missed(member),
      count => count === noticed + 1,
    );
    await eventually(
      'the leader closes it',
      () => gapsClosed(leader).slice(closed),
      causes => causes.includes('ordered'),
    );
    await world.fresh(api);
    // Ordered by the member, opened and closed by the leader.
    expect(new Set(epochs()).size).toBe(3);
    expect(await isClosed()).toBe(true);
  }, 60_000);

  test('one that a member notices while another is being closed is not closed with it', async () => {
    const first = await hold();
    await world.store.newEpoch(null, []);
    await leaderWaitsFor(first);
    // What hides behind this one, the barrier that waits knows nothing of.
    const second = await hold();
    const [noticed, standing] = [missed(member), (await world.store.standing())!.epoch];
    await loseBeats();
    await eventually(
      'the member orders an epoch',
      async () => [missed(member), (await world.store.standing())!.epoch] as const,
      ([count, epoch]) => count === noticed + 1 && epoch !== standing,
    );
    await first.commit();
    await leaderWaitsFor(second);
    expect(await isClosed()).toBe(false);
    await isNotProven(api);
    expect((await api.get('/bays/1')).headers['cache-status']).not.toBe('freshet; hit');

    await second.commit();
    await world.fresh(api);
    expect(await isClosed()).toBe(true);
    // The order, its opening, the member's, the opening of that, and the one that closed both.
    expect(new Set(epochs()).size).toBe(5);
    // Nothing was echoed between the order and that.
    const ordered = control.events.findIndex(({ kind }) => kind === 'epoch');
    const closing = control.events.findLastIndex(({ kind }) => kind === 'epoch');
    expect(control.events.slice(ordered, closing).filter(({ kind }) => kind === 'echo')).toEqual([]);
  }, 60_000);

  test('one that a member has noticed keeps back its echoes of beats that the leader has echoed already', async () => {
    const position = await eventually(
      'a beat is remembered',
      () => world.store.positions.read('kafka:0'),
      seen => beatsOf(seen).length > 0,
    );
    const [writer] = beatsOf(position).at(-1)!;
    const beat = keysOf(world.namespace).beat(writer);
    const echoed = async (of: number): Promise<number> => Number((await redis.hget(beat, `p:${of}`)) ?? 0);
    const blocker = await hold();
    const round = await holdRound(world, topic, partition, 'other');
    await loseBeats();
    // The member fetches all the while, and will find what it missed in one batch with beats that came before it.
    const last = await echoed(partition);
    await eventually(
      'the leader is ahead',
      () => echoed(0),
      number => number > last + 6,
    );
    const end = (await topic.ends()).get(partition)!;
    const noticed = missed(member);

    await round.release();
    await eventually(
      'the member notices',
      () => missed(member),
      count => count === noticed + 1,
    );
    await leaderWaitsFor(blocker);
    await eventually(
      'the member has settled them',
      async () => (await world.store.positions.read(`kafka:${partition}`))?.offset,
      offset => offset !== undefined && BigInt(offset) >= end,
    );
    const ordered = control.events.findIndex(({ kind }) => kind === 'epoch');
    expect(control.events.slice(ordered).filter(({ kind }) => kind === 'echo')).toEqual([]);
    expect(await isClosed()).toBe(false);
    await isNotProven(api);

    await blocker.commit();
    await world.fresh(api);
  }, 60_000);

  test('nothing is proven while one partition is silent, however far the others are', async () => {
    const position = await world.store.positions.read('kafka:0');
    member.signal('SIGSTOP');
    await isNotProven(api);
    await eventually(
      'the leader goes on',
      () => world.store.positions.read('kafka:0'),
      seen => BigInt(seen!.offset!) > BigInt(position!.offset!) + 5n,
    );
    expect((await api.get('/health/ready')).body).not.toContain('FRESH');
    expect(shareOf(leader)).not.toContain(partition);
    member.signal('SIGCONT');
    await untilProvenSince(api, performance.now());
    expect(epochs()).toEqual([]);
  }, 60_000);
});
