/**
 * The load generator: a process of its own, told over IPC what to ask and for how long. A closed loop: each connection
 * sends its next request when the last one was answered, so the server is kept busy and never flooded.
 */
import { percentile, randomNumbers, zipfPlaces } from './figures.ts';
import { cpuMsOf } from './processes.ts';
import { getRequest, headerOf, type RawAnswer, RawClient } from './raw-client.ts';

/** Asks for each path once: fills a cache, and learns the tags and the bytes. */
export interface TourJob {
  readonly kind: 'tour';
  readonly port: number;
  readonly paths: readonly string[];
  readonly connections: number;
}

export interface TourResult {
  readonly etags: readonly string[];
  readonly bodies: readonly string[];
}

/** Asks for paths by Zipf's law for a while. */
export interface LoadJob {
  readonly kind: 'load';
  readonly port: number;
  readonly paths: readonly string[];
  /** Sent as If-None-Match, by path; absent: no conditions. */
  readonly etags?: readonly string[];
  readonly status: 200 | 304;
  /** What Cache-Status must say in every answer that is sampled; absent: nobody asks. */
  readonly cacheStatus?: string;
  readonly connections: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** Whose processor time is taken. */
  readonly serverPid: number;
}

export interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Processor time of the server for one request; null where the system does not tell. */
  readonly cpuUs: number | null;
  /** Share of one core that the server used. */
  readonly cpuShare: number | null;
}

/** Answers between two looks at Cache-Status: enough to notice a cache that does not hit, too few to cost anything. */
const SAMPLE_EVERY = 16;
const DRAWN = 1 << 16;
const SEED = 20_250_601;

async function tour({ port, paths, connections }: TourJob): Promise<TourResult> {
  const etags: string[] = [];
  const bodies: string[] = [];
  let next = 0;
  await onEach(connections, port, (client, done, fail) => {
    const ask = (): void => {
      const place = next++;
      if (place >= paths.length) {
        done();
        return;
      }
      client.send(getRequest(paths[place]!), answer => {
        const etag = headerOf(answer, 'etag');
        if (answer.status !== 200 || etag === null) return fail(unexpected(answer));
        etags[place] = etag;
        bodies[place] = answer.body.toString();
        ask();
      });
    };
    ask();
  });
  return { etags, bodies };
}

async function load(job: LoadJob): Promise<LoadResult> {
  const { paths, etags, status, cacheStatus, warmUpMs, durationMs, serverPid } = job;
  const requests = paths.map((path, i) => getRequest(path, etags ? { 'If-None-Match': etags[i]! } : {}));
  const places = zipfPlaces(paths.length, DRAWN, randomNumbers(SEED));
  const expected = cacheStatus === undefined ? null : `\r\nCache-Status: ${cacheStatus}\r\n`;
  const latencies: number[] = [];
  let drawn = 0;
  let answered = 0;
  const startMs = performance.now() + warmUpMs;
  const endMs = startMs + durationMs;
  let cpuBefore: number | null = null;
  setTimeout(() => {
    cpuBefore = cpuMsOf(serverPid);
  }, warmUpMs);

  await onEach(job.connections, job.port, (client, done, fail) => {
    const ask = (): void => {
      const sentMs = performance.now();
      if (sentMs >= endMs) {
        done();
        return;
      }
      client.send(requests[places[drawn++ % DRAWN]!]!, answer => {
        const nowMs = performance.now();
        if (answer.status !== status) return fail(unexpected(answer));
        answered += 1;
        if (expected !== null && answered % SAMPLE_EVERY === 0 && !`${answer.head}\r\n`.includes(expected))
          return fail(unexpected(answer));
        if (sentMs >= startMs) latencies.push(nowMs - sentMs);
        ask();
      });
    };
    ask();
  });
  const cpuAfter = cpuMsOf(serverPid);
  const tookMs = performance.now() - startMs;
  const cpuMs = cpuBefore === null || cpuAfter === null ? null : cpuAfter - cpuBefore;
  return {
    perSecond: (latencies.length / tookMs) * 1e3,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    cpuUs: cpuMs === null ? null : (cpuMs * 1e3) / latencies.length,
    cpuShare: cpuMs === null ? null : cpuMs / tookMs,
  };
}

const unexpected = ({ head, body }: RawAnswer): Error =>
  new Error(`an answer that the benchmark cannot count:\n${head}\n\n${body.toString().slice(0, 500)}`);

/** Runs one loop a connection; rejects with the first that fails. */
async function onEach(
  connections: number,
  port: number,
  loop: (client: RawClient, done: () => void, fail: (error: Error) => void) => void,
): Promise<void> {
  const open: RawClient[] = [];
  const run = (): Promise<void> =>
    new Promise((resolve, reject) => {
      RawClient.open(port, reject).then(client => {
        open.push(client);
        loop(client, resolve, reject);
      }, reject);
    });
  try {
    await Promise.all(Array.from({ length: connections }, run));
  } finally {
    for (const client of open) client.close();
  }
}

process.on('message', (job: TourJob | LoadJob) => {
  const work: Promise<unknown> = job.kind === 'tour' ? tour(job) : load(job);
  work.then(
    result => process.send!({ result }),
    (error: Error) => process.send!({ error: error.message }),
  );
});
for (const event of ['SIGTERM', 'disconnect']) process.on(event, () => process.exit(0));
process.send!({ type: 'ready' });
