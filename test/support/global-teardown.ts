export default async function globalTeardown(): Promise<void> {
  // Connect holds slots in Postgres: it goes first.
  await globalThis.testChain.close();
  await Promise.all(globalThis.testServers.map(server => server.stop()));
}
