import pLimit from 'p-limit';
import { startAdminListener } from '../observability/listener.ts';
import { startTelemetry } from '../observability/telemetry.ts';
import { CacheConnection } from '../shared/cache/connection.ts';
import { reportProcess } from '../shared/cache/process-report.ts';
import { CacheStore } from '../shared/cache/store.ts';
import { systemClock } from '../shared/clock.ts';
import type { ProcessSettings } from '../shared/config.ts';
import { Filler } from '../shared/fill/lease-and-fill.ts';
import type { Lifecycle } from '../shared/lifecycle.ts';
import { identifySystem, namespaceOf } from '../shared/origin/adopt.ts';
import { DIGEST_PLANNER } from '../shared/origin/digest.ts';
import { createPool } from '../shared/origin/pool.ts';
import { queryOf } from '../shared/origin/query.ts';
import { openPopularity } from '../shared/queue/popularity.ts';
import { readConfigFile } from '../shared/resources/config-file.ts';
import { keysOf } from '../shared/resources/keys.ts';
import { LiveCatalog } from '../shared/resources/live-catalog.ts';
import type { ApiContext } from './ports.ts';
import { Freshness } from './read/freshness.ts';
import { Guard } from './read/guard.ts';
import { Reader } from './read/reader.ts';

export interface OpenedApi {
  readonly context: ApiContext;
  readonly freshness: Freshness;
  /** Base URL of this process's own metrics and health. */
  readonly metrics: string;
  readonly lifecycle: Lifecycle;
}

/** Reading statements and checks of one process under way, and rows that may wait for their turn. */
const READS_AT_ONCE = 16;
const CHECKS_AT_ONCE = 4;
const MOST_WAITING = 2_000;
const READ_TIMEOUT_MS = 5_000;
const WRITE_TIMEOUT_MS = 10_000;
/** A hung cache costs a request no more than this before it goes to the database. */
const CACHE_TIMEOUT_MS = 100;

/** Builds all that a request may touch. What was opened is in `lifecycle`, also when this throws half-way. */
export async function openApi(
  settings: ProcessSettings,
  id: string,
  env: NodeJS.ProcessEnv,
  lifecycle: Lifecycle,
): Promise<OpenedApi> {
  const clock = systemClock;
  const telemetry = startTelemetry({ role: 'api', instance: id, env });
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
  const readPool = open('reads', READS_AT_ONCE, true, READ_TIMEOUT_MS);
  const checkPool = open('checks', CHECKS_AT_ONCE, true, READ_TIMEOUT_MS, DIGEST_PLANNER);
  const writePool = open('writes', 10, false, WRITE_TIMEOUT_MS);

  const system = await identifySystem(readPool);
  const keys = keysOf(namespaceOf(system, settings.namespace));
  const catalog = await LiveCatalog.open(
    queryOf(readPool, 'the definitions could not be read'),
    await readConfigFile(settings.configFile, process.cwd()),
    observer,
  );

  const connection = new CacheConnection({
    url: settings.redisUrl,
    controlKey: keys.control,
    channel: keys.echo,
    commandTimeoutMs: CACHE_TIMEOUT_MS,
    observer,
  });
  lifecycle.onClose('cache', () => connection.close());
  const store = new CacheStore(connection, keys, clock);
  // Without a cache the API still answers, from the database and under its cap.
  await connection.open();

  const popularity = openPopularity({ url: settings.queueRedisUrl, keys, observer });
  lifecycle.onClose('popularity', () => popularity.close());

  const freshness = new Freshness({
    store,
    clock,
    observer,
    process: id,
    maxStalenessMs: settings.maxStalenessMs,
  });
  freshness.start();
  lifecycle.onClose('freshness', () => freshness.stop());
  observer.gauges({
    mode: () => freshness.mode(),
    proofAgeSeconds: () => {
      const ageMs = freshness.proofAgeMs();
      return ageMs === null ? null : ageMs / 1000;
    },
  });

  const filler = new Filler({ store, pool: readPool, clock, observer });
  const guard = new Guard({
    pool: checkPool,
    clock,
    freshness,
    limit: pLimit(CHECKS_AT_ONCE),
    mostWaiting: MOST_WAITING,
  });
  const reader = new Reader({
    store,
    filler,
    freshness,
    guard,
    clock,
    limit: pLimit(READS_AT_ONCE),
    mostWaiting: MOST_WAITING,
    tokenPrefix: `v1.${system.id}.${system.timeline}.`,
    refreshCatalog: () => catalog.refresh(),
    currentResource: catalog.resource,
    onRead: (resource, tag) => popularity.count(resource, tag),
  });

  const ready: ApiContext['ready'] = () => ({
    ok: !lifecycle.isClosing,
    conditions: { mode: freshness.mode(), cache: connection.isOpen ? 'connected' : 'unreachable' },
  });
  const listener = await startAdminListener({ metricsText: () => telemetry.metricsText(), ready });
  lifecycle.onClose('admin listener', () => listener.close());
  const report = reportProcess(store, clock, () => ({
    id,
    role: 'api',
    metrics: listener.url,
    mode: freshness.mode(),
    proofAgeMs: freshness.proofAgeMs(),
  }));
  lifecycle.onClose('process report', () => report.stop());

  return {
    context: {
      catalog: catalog.current,
      refreshCatalog: () => catalog.refresh(),
      reader,
      store,
      filler,
      writePool,
      system,
      observer,
      ready,
    },
    freshness,
    metrics: listener.url,
    lifecycle,
  };
}
