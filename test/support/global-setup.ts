import { type ChainHost, hostKafkaChain } from './kafka-chain.ts';
import { startPostgres, startRedis, type TestServer } from './servers.ts';

declare global {
  var testServers: TestServer[];
  var testChain: ChainHost;
}

/**
 * One Postgres and two Redis for the whole run; test files take a database and a namespace of their own. Kafka and
 * Connect start when the first file asks for them.
 */
export default async function globalSetup(): Promise<void> {
  // Every project of a run brings its own setup, and they share the servers.
  if (globalThis.testServers) return;
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
  globalThis.testChain = await hostKafkaChain();
  process.env.TEST_KAFKA_CHAIN_URL = globalThis.testChain.url;
}
