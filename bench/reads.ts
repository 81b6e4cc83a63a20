import { join } from 'node:path';
import { Redis } from 'ioredis';
import { withClient } from '../cli/local/database.ts';
import { median } from './figures.ts';
import { startApi, startWorker } from './freshet.ts';
import type { LoadJob, LoadResult, TourResult } from './load.ts';
import type { Bench } from './main.ts';
import { order, type Program, startProgram } from './processes.ts';
import { number, table } from './report.ts';

/**
 * Cached reads over HTTP, the same rows and the same bytes from each contender. Each is started for itself, filled,
 * warmed up and stopped again; who comes first moves on with every round.
 */

interface Running {
  readonly program: Program;
  readonly port: number;
  stop(): Promise<void>;
}

interface Contender {
  readonly name: string;
  start(bench: Bench): Promise<Running>;
  /** What an answer out of its cache says in Cache-Status; absent where it says nothing. */
  readonly cacheStatus?: string;
}

type Status = 200 | 304;
const statuses: readonly Status[] = [200, 304];

export interface ReadsResult {
  readonly contender: string;
  readonly status: Status;
  /** Medians over the rounds. */
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuUs: number | null;
  readonly cpuShare: number | null;
  /** Requests a second against the baseline's of the same round; median over the rounds. */
  readonly ratio: number;
}

const rival = (name: string, entry: string, env: NodeJS.ProcessEnv = {}): Contender => ({
  name,
  async start({ stores, cores }) {
    const program = await startProgram({
      entry,
      env: { DATABASE_URL: stores.databaseUrl, REDIS_URL: stores.cacheUrl, NODE_ENV: 'production', ...env },
      logFile: join(stores.folder, 'rival.log'),
      serverCores: cores,
    });
    return { program, port: Number(program.ready.port), stop: () => program.stop() };
  },
});

const freshet: Contender = {
  name: 'Freshet',
  cacheStatus: 'freshet; hit',
  async start({ stores, cores }) {
    const worker = await startWorker(stores);
    try {
      const { program, port } = await startApi(stores, cores);
      const stop = async (): Promise<void> => {
        await program.stop();
        await worker.stop();
      };
      return { program, port, stop };
    } catch (error) {
      await worker.stop();
      throw error;
    }
  },
};

const baseline = rival('Express + ioredis', 'bench/rivals/express-redis.ts');
const contenders = [
  rival('Express + pg', 'bench/rivals/express-pg.ts'),
  baseline,
  rival('the same, auto-pipelining', 'bench/rivals/express-redis.ts', { RIVAL_AUTO_PIPELINING: '1' }),
  freshet,
];

const ROWS = 10_000;
const CONNECTIONS = 64;
const WARM_UP_MS = 1_000;

export async function benchReads(bench: Bench): Promise<ReadsResult[]> {
  const { rounds, seconds, say, stores } = bench;
  const paths = await mostPopulated(stores.databaseUrl, bench.rows ?? ROWS);
  const found = new Map<string, LoadResult[]>();
  let bodies: readonly string[] | null = null;
  for (let round = 0; round < rounds; round += 1) {
    const turn = round % contenders.length;
    for (const contender of [...contenders.slice(turn), ...contenders.slice(0, turn)]) {
      const { tour, results } = await measure(bench, contender, paths, seconds);
      bodies ??= tour.bodies;
      checkBodies(contender, bodies, tour.bodies);
      for (const [status, result] of results) {
        const name = `${contender.name} ${status}`;
        found.set(name, [...(found.get(name) ?? []), result]);
        say(
          `round ${round + 1}/${rounds}  ${name.padEnd(30)} ${number(result.perSecond).padStart(7)} requests/s  p50 ${result.p50Ms.toFixed(2)} ms  p99 ${result.p99Ms.toFixed(2)} ms`,
        );
      }
    }
  }
  return statuses.flatMap(status =>
    contenders.map(({ name }) =>
      summary(name, status, found.get(`${name} ${status}`)!, found.get(`${baseline.name} ${status}`)!),
    ),
  );
}

async function measure(
  bench: Bench,
  contender: Contender,
  paths: readonly string[],
  seconds: number,
): Promise<{ tour: TourResult; results: Map<Status, LoadResult> }> {
  await emptyCache(bench.stores.cacheUrl);
  const running = await contender.start(bench);
  const { port, program } = running;
  const common = { port, paths, connections: CONNECTIONS };
  try {
    const generator = await startGenerator(bench);
    try {
      const tour = await order<TourResult>(generator, { kind: 'tour', ...common });
      const results = new Map<Status, LoadResult>();
      for (const status of statuses) {
        const job: LoadJob = {
          kind: 'load',
          ...common,
          ...(status === 304 && { etags: tour.etags }),
          ...(contender.cacheStatus && { cacheStatus: contender.cacheStatus }),
          status,
          warmUpMs: Math.min(WARM_UP_MS, seconds * 1e3),
          durationMs: seconds * 1e3,
          serverPid: program.pid,
        };
        results.set(status, await order<LoadResult>(generator, job));
      }
      return { tour, results };
    } finally {
      await generator.stop();
    }
  } catch (error) {
    throw new Error(`${contender.name}: ${error instanceof Error ? error.message : error}`, { cause: error });
  } finally {
    await running.stop();
  }
}

const startGenerator = ({ stores }: Bench): Promise<Program> =>
  startProgram({ entry: 'bench/load.ts', env: {}, logFile: join(stores.folder, 'load.log') });

/** The same work for all: nobody may send other bytes than the first one did. */
function checkBodies(contender: Contender, expected: readonly string[], seen: readonly string[]): void {
  const different = expected.findIndex((body, i) => body !== seen[i]);
  if (different < 0) return;
  throw new Error(`${contender.name} sends ${seen[different]} where another sent ${expected[different]}`);
}

async function mostPopulated(databaseUrl: string, rows: number): Promise<string[]> {
  const ids = await withClient(databaseUrl, client =>
    client.query('select id from cities order by population desc, id limit $1', [rows]),
  );
  return ids.rows.map(({ id }) => `/cities/${id}`);
}

async function emptyCache(url: string): Promise<void> {
  const redis = new Redis(url);
  await redis.flushall();
  redis.disconnect();
}

function summary(
  contender: string,
  status: Status,
  results: readonly LoadResult[],
  base: readonly LoadResult[],
): ReadsResult {
  const middle = (of: (result: LoadResult) => number): number => median(results.map(of));
  const known = results.every(({ cpuUs }) => cpuUs !== null);
  return {
    contender,
    status,
    perSecond: middle(result => result.perSecond),
    p50Ms: middle(result => result.p50Ms),
    p99Ms: middle(result => result.p99Ms),
    cpuUs: known ? middle(result => result.cpuUs!) : null,
    cpuShare: known ? middle(result => result.cpuShare!) : null,
    ratio: median(results.map((result, round) => result.perSecond / base[round]!.perSecond)),
  };
}

export function reportReads(results: readonly ReadsResult[]): string {
  const rows = results.map(result => [
    `${result.contender}, ${result.status}`,
    number(result.perSecond),
    result.p50Ms.toFixed(2),
    result.p99Ms.toFixed(2),
    result.cpuUs === null ? '–' : result.cpuUs.toFixed(1),
    result.cpuShare === null ? '–' : `${Math.round(result.cpuShare * 100)} %`,
    result.ratio.toFixed(2),
  ]);
  return table(
    [
      'cached reads',
      'requests/s',
      'p50 ms',
      'p99 ms',
      'CPU µs a request',
      'of the core',
      `to ${baseline.name}`,
    ],
    rows,
  );
}
