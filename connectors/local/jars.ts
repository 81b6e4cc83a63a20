import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { FreshetError } from '../../shared/errors.ts';
import { forgetServer, noteServer, stopLeftover } from '../../shared/local/leftover.ts';
import { lockHolder, takeLock } from '../../shared/local/lock-file.ts';
import { findOrInstallMaven, type Seeker } from './java.ts';

export interface Jars {
  /** Libraries of the broker and of Kafka Connect. */
  readonly libs: string;
  /** `plugin.path` of Kafka Connect: Debezium's connector. */
  readonly plugins: string;
}

export interface JarsOptions extends Seeker {
  /** Where the jars are kept. */
  readonly cache?: string;
  /** Ends a fetch that is under way; the next one goes on with what has come. */
  readonly signal?: AbortSignal;
}

const pom = fileURLToPath(new URL('pom.xml', import.meta.url));
/**
 * Beside the other things that are made from the project's dependencies: it is no data (`reset` must not cost a
 * download), tests with data folders of their own share it, and it goes away with the checkout. `npm ci` empties it
 * too; then the jars are copied again from Maven's own repository, which takes seconds.
 */
const defaultCache = fileURLToPath(new URL('../../node_modules/.cache/freshet', import.meta.url));
const progressEveryBytes = 10e6;
const lockPollMs = 100;
const stopSteps = [
  ['SIGTERM', 5_000],
  ['SIGKILL', 5_000],
] as const;
/** A slow line needs long for a hundred megabytes; Maven itself gives up on a server that sends nothing. */
const fetchLimitMs = 1_800_000;

const versionOf = (name: string): string =>
  new RegExp(`<${name}>([^<]+)</${name}>`).exec(readFileSync(pom, 'utf8'))?.[1] ?? '';

/** Counts what Maven says it has downloaded, and tells it from time to time. */
class Progress {
  readonly #say: (line: string) => void;
  readonly #errors: string[] = [];
  #files = 0;
  #bytes = 0;
  #told = 0;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  take(line: string): void {
    const error = /^\[ERROR\] (.+)/.exec(line)?.[1];
    if (error) this.#errors.push(error);
    const got = /^(?:\[INFO\] )?Downloaded from .*\(([\d.]+) (B|kB|MB) at /.exec(line);
    if (!got) return;
    this.#files += 1;
    this.#bytes += Number(got[1]) * { B: 1, kB: 1e3, MB: 1e6 }[got[2] as 'B' | 'kB' | 'MB'];
    if (this.#bytes - this.#told < progressEveryBytes) return;
    this.#told = this.#bytes;
    this.#say(`  ${this.#files} files, ${(this.#bytes / 1e6).toFixed(0)} MB so far`);
  }

  /** Why it failed, in Maven's words. */
  get reason(): string {
    return this.#errors[0] ?? 'it printed no reason';
  }
}

const ended = (child: ChildProcess): Promise<string | null> =>
  new Promise(resolve => {
    child.once('error', error => resolve(error.message));
    child.once('close', (code, signal) => {
      resolve(code === 0 ? null : signal ? `ended by ${signal}` : `exit code ${code}`);
    });
  });

/** Runs Maven once. It keeps every file that has come whole, so that a fetch that was cut short loses little. */
async function fetchJars(folder: string, options: JarsOptions): Promise<void> {
  const { say, env, signal } = options;
  const maven = findOrInstallMaven(options);
  say(
    `fetching Kafka ${versionOf('kafka')} and Debezium ${versionOf('debezium')} (about 85 MB the first time)`,
  );
  const half = `${folder}.part-${process.pid}`;
  const limit = AbortSignal.timeout(fetchLimitMs);
  mkdirSync(half);
  try {
    const child = spawn(maven, ['-B', '-U', '-f', pom, `-Dout=${half}`, 'package'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env, NO_COLOR: '1' },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    if (child.pid !== undefined) noteServer(half, child.pid);
    const progress = new Progress(say);
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', line => progress.take(line));
    const how = await ended(child);
    signal?.throwIfAborted();
    if (how !== null) {
      throw new FreshetError({
        code: 'jars-not-fetched',
        message: `Maven could not fetch the jars of Kafka and Debezium (${how}): ${progress.reason}`,
        hint: 'Check that Maven Central can be reached, or name a mirror in ~/.m2/settings.xml; the next start goes on with what has come.',
        retryable: true,
      });
    }
    forgetServer(half);
    renameSync(half, folder);
  } finally {
    rmSync(half, { recursive: true, force: true });
  }
}

/**
 * The jars of the versions that pom.xml names, fetched where they are missing: once for each content of that file,
 * and by one process at a time, because Maven's own repository takes no two writers. Throws `no-maven` or
 * `jars-not-fetched`.
 */
export async function readyJars(options: JarsOptions): Promise<Jars> {
  const cache = options.cache ?? defaultCache;
  const hash = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 16);
  // The folder gets its name when it is complete.
  const folder = join(cache, `kafka-${hash}`);
  const jars = { libs: join(folder, 'libs'), plugins: join(folder, 'plugins') };
  if (existsSync(folder)) return jars;
  mkdirSync(cache, { recursive: true });
  const unlock = await untilMine(`${folder}.lock`, options);
  try {
    await removeHalves(folder, options.say);
    if (!existsSync(folder)) await fetchJars(folder, options);
  } finally {
    unlock();
  }
  return jars;
}

/** What fetches that were killed have left, their Maven included; whoever calls this holds the lock. */
async function removeHalves(folder: string, say: (line: string) => void): Promise<void> {
  for (const name of readdirSync(dirname(folder))) {
    if (!name.startsWith(`${basename(folder)}.part-`)) continue;
    const half = join(dirname(folder), name);
    await stopLeftover('Maven', half, stopSteps, say);
    rmSync(half, { recursive: true, force: true });
  }
}

async function untilMine(lock: string, { say, signal }: JarsOptions): Promise<() => void> {
  let isTold = false;
  for (;;) {
    const taken = takeLock(lock);
    if (taken && 'unlock' in taken) return taken.unlock;
    if (taken && !isTold) say(`process ${taken.pid} is fetching the jars of Kafka: waiting for it`);
    isTold = true;
    do await delay(lockPollMs, null, { ...(signal && { signal }) });
    while (lockHolder(lock));
  }
}
