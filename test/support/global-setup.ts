import { startPostgres, startRedis, type TestServer } from './servers.ts';

declare global {
  var testServers: TestServer[];
}

/** One Postgres and two Redis for the whole run; test files take a database and a namespace of their own. */
export default async function globalSetup(): Promise<void> {
  const starts = await Promise.allSettled([startPostgres(), startRedis('cache'), startRedis('queue')]);
  globalThis.testServers = starts.flatMap(start => (start.status === 'fulfilled' ? [start.value] : []));
  const failed = starts.find(start => start.status === 'rejected');
  if (failed) {
    await Promise.allSettled(globalThis.testServers.map(server => server.stop()));
    throw failed.reason;
  }
  const [postgres, cache, queue] = globalThis.testServers;
  process.env.TEST_POSTGRES_URL = postgres!.url;
  process.env.TEST_CACHE_REDIS_URL = cache!.url;
  process.env.TEST_QUEUE_REDIS_URL = queue!.url;
}
