import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../shared/local/ports.ts';
import type { Cores } from './cores.ts';
import { type Program, startProgram } from './processes.ts';
import type { Stores } from './stores.ts';

const freshWithinMs = 20_000;
const pollMs = 20;

const environment = (stores: Stores): NodeJS.ProcessEnv => ({
  DATABASE_URL: stores.databaseUrl,
  REDIS_URL: stores.cacheUrl,
  QUEUE_REDIS_URL: stores.queueUrl,
  // Every table with a primary key, as it is found: nothing is tuned for the measurement.
  FRESHET_CONFIG: 'none',
});

export interface WorkerOptions {
  /** Absent: wherever this process is. */
  readonly serverCores?: Cores | null;
  /** Which feed it follows, where it is not the one by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** Of its profile. */
  readonly name?: string;
}

/** The process that follows the database. Where it runs depends on what is measured: the API or the worker itself. */
export const startWorker = (
  stores: Stores,
  { serverCores = null, env = {}, name = 'worker' }: WorkerOptions = {},
): Promise<Program> =>
  startProgram({
    entry: 'workers/main.ts',
    env: { ...environment(stores), ...env },
    logFile: join(stores.folder, 'worker.log'),
    serverCores,
    nodeOptions: profiling(name),
  });

/** The API on a free port, in mode FRESH when this resolves. */
export async function startApi(
  stores: Stores,
  serverCores: Cores | null,
): Promise<{ program: Program; port: number }> {
  const port = await freePort();
  const program = await startProgram({
    entry: 'api/main.ts',
    env: { ...environment(stores), FRESHET_API_PORT: String(port) },
    logFile: join(stores.folder, 'api.log'),
    serverCores,
    nodeOptions: profiling('api'),
  });
  const url = `http://127.0.0.1:${port}/health/ready`;
  for (const until = performance.now() + freshWithinMs; ; await delay(pollMs)) {
    const seen = await textOf(url);
    if (seen.includes('FRESH')) return { program, port };
    if (performance.now() >= until) {
      await program.stop();
      throw new Error(`the API did not become FRESH within ${freshWithinMs} ms; it says ${seen}`);
    }
  }
}

/** BENCH_PROFILE=<folder>: a processor profile of each of Freshet's processes is left there. */
function profiling(name: string): string[] {
  const folder = process.env.BENCH_PROFILE;
  return folder ? ['--cpu-prof', `--cpu-prof-dir=${join(folder, name)}`] : [];
}

export const textOf = (url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get(url, { agent: false }, async answer => {
      try {
        resolve(Buffer.concat(await answer.toArray()).toString());
      } catch (error) {
        reject(error);
      }
    }).on('error', reject);
  });
