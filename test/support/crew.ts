import { Redis } from 'ioredis';
import { CacheConnection } from '../../shared/cache/connection.ts';
import { CacheStore } from '../../shared/cache/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { slotOfRow } from '../../shared/fill/lease-and-fill.ts';
import { DIGEST_PLANNER } from '../../shared/origin/digest.ts';
import { createPool } from '../../shared/origin/pool.ts';
import { defineConfig, table } from '../../shared/resources/define.ts';
import { LiveCatalog } from '../../shared/resources/live-catalog.ts';
import { Applier } from '../../workers/apply.ts';
import { Barrier } from '../../workers/barrier.ts';
import type { BeatWriter } from '../../workers/beat.ts';
import type { Change } from '../../workers/feed/feed.ts';
import { Follower } from '../../workers/follow.ts';
import { Lead } from '../../workers/lead.ts';
import { Member } from '../../workers/member.ts';
import { eventually } from './eventually.ts';
import { type HeldPool, holdable } from './held-pool.ts';
import { type JobWorld, openJobWorld } from './job-world.ts';
import { type RecordingObserver, recordingObserver } from './recording-observer.ts';
import { type SharedLog, sharedLog } from './shared-log.ts';

export interface CrewWorker {
  readonly applier: Applier;
  readonly follower: Follower;
  readonly observer: RecordingObserver;
  /** What it asks the primary. */
  readonly questions: HeldPool;
  /** In good order; what is settled is remembered. */
  stop(): Promise<void>;
}

/**
 * Workers that share the partitions of a log in memory, before a real database and a real cache. The test writes
 * what the feed brings, beats included.
 */
export interface Crew {
  readonly world: JobWorld;
  readonly log: SharedLog;
  /** Nonces that were published, in order. */
  readonly heard: readonly string[];
  worker(name: string): Promise<CrewWorker>;
  /** One beat more into these partitions, all of them unless said; its nonce is its number. Resolves with the number. */
  beat(...partitions: number[]): Promise<number>;
  /** Everything that was published until now has been heard. */
  listened(): Promise<void>;
  /** Beats go out until one of them has come back. */
  proven(): Promise<void>;
  /** Commits, and puts the change into the partition under the key given. */
  update(id: number, name: string, partition: number, key?: string): Promise<bigint>;
  /** Resolves when the row is cached, by somebody who reads it now unless it was before. */
  fill(id: number): Promise<void>;
  epoch(): Promise<string>;
  close(): Promise<void>;
}

const WRITER = 'the test';

export async function openCrew(partitions: number): Promise<Crew> {
  const world = await openJobWorld(9, { warmUp: { top: 0 }, rewarm: 'never' });
  const { database, keys, store } = world;
  const ending = new AbortController();
  const log = sharedLog(partitions, ending.signal);
  const url = process.env.TEST_CACHE_REDIS_URL!;
  const listener = new Redis(url, { protocol: 2 });
  const heard: string[] = [];
  listener.on('message', (_channel, text) => heard.push(text));
  await listener.subscribe(keys.echo);
  const closing: (() => Promise<unknown>)[] = [];
  let number = 0;

  const incarnation = async (): Promise<string | null> =>
    (await database.query('select incarnation::text from freshet.alive')).rows[0]?.incarnation ?? null;

  const crew: Crew = {
    world,
    log,
    heard,
    async worker(name) {
      const observer = recordingObserver();
      const pool = createPool({
        url: database.url,
        name,
        max: 4,
        readOnly: false,
        statementTimeoutMs: 0,
        observer,
        settings: DIGEST_PLANNER,
      });
      const questions = holdable(pool);
      const connection = new CacheConnection({
        url,
        controlKey: keys.control,
        commandTimeoutMs: 2_000,
        observer,
      });
      await connection.open();
      const own = new CacheStore(connection, keys, systemClock);
      const watched = await LiveCatalog.open(
        async (sql, params) => pool.query(sql, params),
        defineConfig({ resources: { users: table('users', { warmUp: { top: 0 }, rewarm: 'never' }) } }),
        observer,
      );
      const stopping = new AbortController();
      const signal = AbortSignal.any([stopping.signal, ending.signal]);
      const feed = log.feed(name);
      const common = {
        store: own,
        pool: questions.pool,
        watched,
        observer,
        clock: systemClock,
        worker: name,
      };
      const lead = new Lead(common);
      const member = new Member(common);
      const applier = new Applier({ ...common, feed, afterSettled: () => {} }, member);
      const follower = new Follower({
        ...common,
        feed,
        applier,
        lead,
        member,
        barrier: new Barrier({ ...common, signal }),
        beats: () => ({ start() {}, async stop() {} }) as unknown as BeatWriter,
        signal,
      });
      const running = follower.run();
      let isStopped = false;
      const stop = async (): Promise<void> => {
        if (isStopped) return;
        isStopped = true;
        stopping.abort();
        await running;
        await connection.close();
        await pool.end();
      };
      closing.push(stop);
      return { applier, follower, observer, questions, stop };
    },
    async beat(...into) {
      number += 1;
      await store.noteBeat(WRITER, number, [String(number)]);
      const item = { kind: 'beat', writer: WRITER, number, incarnation: await incarnation() } as const;
      const all = Array.from({ length: partitions }, (_, partition) => partition);
      for (const partition of into.length > 0 ? into : all) log.append(partition, item);
      return number;
    },
    async listened() {
      const mark = `mark ${Math.random()}`;
      await store.connection.call('PUBLISH', keys.echo, mark);
      await eventually(
        'the mark',
        () => heard,
        texts => texts.includes(mark),
      );
    },
    async proven() {
      let sent = 0;
      await eventually(
        'a beat comes back',
        async () => {
          sent ||= number + 1;
          await crew.beat();
          return heard.map(Number);
        },
        numbers => numbers.some(one => one >= sent),
      );
    },
    async update(id, name, partition, key = String(id)) {
      const { rows } = await database.query(
        'update users set name = $2 where id = $1 returning pg_current_xact_id()::text as xid',
        [id, name],
      );
      const xid = BigInt((rows[0] as { xid: string }).xid);
      log.append(partition, { kind: 'change', change: changeOf(xid, key) });
      return xid;
    },
    async fill(id) {
      const users = world.catalog.resources.get('users')!;
      const slot = slotOfRow(users, [String(id)]);
      await eventually(
        `row ${id} is cached`,
        async () => {
          const { entry, control } = await store.readRow(slot);
          if (entry !== null && entry.meta.stamp === control?.stamp) return true;
          await world.filler.leaseAndFill(users, [String(id)], control);
          return false;
        },
        isCached => isCached,
      );
    },
    epoch: async () => (await store.control())?.epoch ?? '',
    async close() {
      ending.abort();
      await Promise.allSettled(closing.map(close => close()));
      listener.disconnect();
      await world.close();
    },
  };
  return crew;
}

const changeOf = (xid: bigint, key: string): Change => ({
  op: 'update',
  table: 'users',
  xid,
  lsn: 0n,
  committedMs: Date.now(),
  keyBefore: null,
  keyAfter: [key],
  before: null,
  after: null,
});
