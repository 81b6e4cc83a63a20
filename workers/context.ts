import { setTimeout as delay } from 'node:timers/promises';
import { startAdminListener } from '../observability/listener.ts';
import { startTelemetry } from '../observability/telemetry.ts';
import { CacheConnection } from '../shared/cache/connection.ts';
import { reportProcess } from '../shared/cache/process-report.ts';
import { CacheStore } from '../shared/cache/store.ts';
import { systemClock } from '../shared/clock.ts';
import type { ProcessSettings } from '../shared/config.ts';
import { Filler } from '../shared/fill/lease-and-fill.ts';
import type { Lifecycle } from '../shared/lifecycle.ts';
import type { Observer } from '../shared/observe.ts';
import { identifySystem, namespaceOf } from '../shared/origin/adopt.ts';
import { DIGEST_PLANNER } from '../shared/origin/digest.ts';
import { createPool } from '../shared/origin/pool.ts';
import { queryOf } from '../shared/origin/query.ts';
import { openPopularity } from '../shared/queue/popularity.ts';
import { openQueues } from '../shared/queue/queues.ts';
import { readConfigFile } from '../shared/resources/config-file.ts';
import { keysOf } from '../shared/resources/keys.ts';
import { LiveCatalog } from '../shared/resources/live-catalog.ts';
import { Applier } from './apply.ts';
import { Barrier } from './barrier.ts';
import { BeatWriter } from './beat.ts';
import { feedOf } from './feed/open-feed.ts';
import { Follower } from './follow.ts';
import { startJobs } from './jobs/start.ts';
import { Lead } from './lead.ts';
import { Member } from './member.ts';

export interface OpenedWorker {
  readonly observer: Observer;
  readonly metrics: string;
}

const READ_TIMEOUT_MS = 10_000;
const READY_WITHIN_MS = 5_000;
/** Fences are worth waiting for: a slow Redis holds the position, it does not lose a change. */
const CACHE_TIMEOUT_MS = 2_000;

/** Builds and starts all that follows the database. What was opened is in `lifecycle`, also when this throws half-way. */
export async function openWorker(
  settings: ProcessSettings,
  id: string,
  env: NodeJS.ProcessEnv,
  lifecycle: Lifecycle,
): Promise<OpenedWorker> {
  const clock = systemClock;
  const telemetry = startTelemetry({ role: 'worker', instance: id, env });
  lifecycle.onClose('telemetry', () => telemetry.close());
  const { observer } = telemetry;

  const open = (name: string, max: number, readOnly: boolean, statementTimeoutMs: number, extra = {}) => {
    const pool = createPool({
      url: settings.databaseUrl,
      name,
      max,
      readOnly,
      statementTimeoutMs,
      observer,
      settings: extra,
    });
    lifecycle.onClose(`${name} pool`, () => pool.end());
    return pool;
  };
  // Making a slot may wait for hours behind somebody's transaction: no time-out here.
  const feedPool = open('feed', 4, false, 0, DIGEST_PLANNER);
  const readPool = open('jobs', 4, true, READ_TIMEOUT_MS);

  const system = await identifySystem(feedPool);
  const keys = keysOf(namespaceOf(system, settings.namespace));
  const catalog = await LiveCatalog.open(
    queryOf(readPool, 'the definitions could not be read'),
    await readConfigFile(settings.configFile, process.cwd()),
    observer,
  );

  const connection = new CacheConnection({
    url: settings.redisUrl,
    controlKey: keys.control,
    commandTimeoutMs: CACHE_TIMEOUT_MS,
    observer,
  });
  lifecycle.onClose('cache', () => connection.close());
  const store = new CacheStore(connection, keys, clock);
  await connection.open();

  const filler = new Filler({ store, pool: readPool, clock, observer });
  const resources = () => catalog.current().resources.values();
  const popularity = openPopularity({ url: settings.queueRedisUrl, keys, observer, watch: resources });
  lifecycle.onClose('popularity', () => popularity.close());
  const queues = await openQueues({ url: settings.queueRedisUrl, namespace: keys.namespace, observer });
  observer.gauges({ queues: () => queues.figures() });
  const jobs = startJobs({
    queues,
    filler,
    store,
    catalog: catalog.current,
    popularity,
    pool: readPool,
    observer,
  });
  lifecycle.onClose('jobs', () => jobs.close());

  const stopping = new AbortController();
  const { signal } = stopping;
  const barrier = new Barrier({ pool: feedPool, clock, observer, signal });
  const feed = await feedOf(settings, {
    worker: id,
    namespace: keys.namespace,
    pool: feedPool,
    tables: catalog.tables,
    reference: () => applier.reference,
    probe: () => applier.probe(),
    observer,
    whileBlocked: work => barrier.whileBlocked(work),
    signal,
  });
  const lead = new Lead({ store, pool: feedPool, watched: catalog, observer, worker: id });
  const member = new Member({ store, watched: catalog });
  const applier = new Applier(
    {
      store,
      feed,
      pool: feedPool,
      watched: catalog,
      clock,
      observer,
      worker: id,
      afterSettled: jobs.afterSettled,
    },
    member,
  );
  const follower = new Follower({
    feed,
    applier,
    lead,
    member,
    barrier,
    beats: () =>
      new BeatWriter({
        url: settings.databaseUrl,
        store,
        namespace: keys.namespace,
        prefixes: feed.beatPrefixes,
        observer,
      }),
    store,
    pool: feedPool,
    watched: catalog,
    clock,
    observer,
    worker: id,
    signal,
  });
  const following = follower.run();
  lifecycle.onClose('feed', () => {
    stopping.abort();
    return following;
  });

  const listener = await startAdminListener({
    metricsText: () => telemetry.metricsText(),
    ready: () => ({ ok: follower.gap === null, conditions: { gap: follower.gap?.cause ?? 'none' } }),
  });
  lifecycle.onClose('admin listener', () => listener.close());
  const report = reportProcess(store, clock, () => ({
    id,
    role: 'worker',
    metrics: listener.url,
    mode: null,
    proofAgeMs: null,
    feed: feed.name,
    gap: follower.gap?.cause ?? null,
    trouble: follower.trouble,
    waitingFor: barrier.waitingFor,
    unsettled: applier.unsettled,
    partitions: applier.partitions,
  }));
  lifecycle.onClose('process report', () => report.stop());
  // Ready means: what is read can be proven. A gap that takes long to close is told by status, not by a failed start.
  await Promise.race([follower.following, delay(READY_WITHIN_MS, undefined, { ref: false })]);
  return { observer, metrics: listener.url };
}
