import { randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { FreshetError } from '../shared/errors.ts';
import { lockHolder, takeLock } from '../shared/local/lock-file.ts';
import type { ProcessMark } from '../shared/local/processes.ts';

/** Where things are in the data folder. */
export interface Paths {
  readonly root: string;
  readonly run: string;
  readonly lock: string;
  readonly secrets: string;
  readonly postgres: string;
  readonly cacheRedis: string;
  readonly queueRedis: string;
  readonly kafka: string;
  readonly connect: string;
  readonly log: (name: string) => string;
}

/** What is running, for people and scripts: `run.json`, there while it runs. */
export interface RunRecord {
  readonly api: string;
  readonly console: string;
  /** One URL a process. */
  readonly metrics: readonly string[];
  readonly databaseUrl: string;
  readonly cacheRedisUrl: string;
  readonly queueRedisUrl: string;
  readonly feed: string;
  /** Of the kafka feed. */
  readonly kafkaBrokers?: string;
  readonly connectUrl?: string;
  readonly pids: {
    readonly supervisor: number;
    readonly api: readonly number[];
    readonly workers: readonly number[];
    /** null: a server of somebody else's. */
    readonly postgres: number | null;
    readonly cacheRedis: number | null;
    readonly queueRedis: number | null;
    /** Absent: another feed. */
    readonly kafka?: number | null;
    readonly connect?: number | null;
  };
}

/** What the local servers keep from one start to the next. */
export interface LocalServers {
  readonly password: string;
  readonly postgresPort?: number | undefined;
  readonly cacheRedisPort?: number | undefined;
  readonly queueRedisPort?: number | undefined;
  readonly kafkaPort?: number | undefined;
  readonly connectPort?: number | undefined;
}

export function pathsOf(dataDir: string): Paths {
  const root = resolve(dataDir);
  return {
    root,
    run: join(root, 'run.json'),
    lock: join(root, 'lock.json'),
    secrets: join(root, 'servers.json'),
    postgres: join(root, 'postgres'),
    cacheRedis: join(root, 'cache-redis'),
    queueRedis: join(root, 'queue-redis'),
    kafka: join(root, 'kafka'),
    connect: join(root, 'connect'),
    log: name => join(root, 'logs', `${name}.log`),
  };
}

function readJson<T>(file: string): T | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new FreshetError({
      code: 'broken-data-folder',
      message: `${file} cannot be read: ${(error as Error).message}`,
      hint: '`npm run reset` forgets the data and starts anew.',
      cause: error,
    });
  }
}

/** Readers see the old file or the new one, never half of one. It holds passwords: for its owner only. */
export function writeJson(file: string, value: unknown): void {
  const half = `${file}.${process.pid}`;
  writeFileSync(half, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(half, file);
}

/** Makes the folder where it is missing. Throws when it cannot be written to. */
export function makeDataFolder(paths: Paths): void {
  try {
    mkdirSync(join(paths.root, 'logs'), { recursive: true });
    accessSync(paths.root, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new FreshetError({
      code: 'broken-data-folder',
      message: `The data folder ${paths.root} cannot be used: ${(cause as Error).message}`,
      hint: 'FRESHET_DATA_DIR names another one.',
      cause,
    });
  }
}

/** Who holds the folder; null when nobody does. */
export const holderOf = (paths: Paths): ProcessMark | null => lockHolder(paths.lock);

export const inUse = (paths: Paths, holder: ProcessMark): FreshetError => {
  const run = readJson<RunRecord>(paths.run);
  return new FreshetError({
    code: 'data-folder-in-use',
    message: `${paths.root} is in use: Freshet runs there as process ${holder.pid}${run ? `, API ${run.api}` : ''}`,
    hint: 'Stop that one first, or name another folder (FRESHET_DATA_DIR) and other ports.',
  });
};

/** Takes the folder for this process, and returns how to let go of it. Throws when another process holds it. */
export function lockDataFolder(paths: Paths): () => void {
  const taken = takeLock(paths.lock);
  if (taken && 'unlock' in taken) return taken.unlock;
  if (taken) throw inUse(paths, taken);
  throw new FreshetError({ code: 'data-folder-in-use', message: `${paths.lock} could not be taken` });
}

/** Ports and the password of the local servers, as the last start left them. */
export function readLocalServers(paths: Paths): LocalServers {
  const known = readJson<LocalServers>(paths.secrets);
  if (known) return known;
  if (existsSync(paths.postgres)) {
    throw new FreshetError({
      code: 'broken-data-folder',
      message: `${paths.root} holds a database, and ${paths.secrets} with its password is missing`,
      hint: 'Put that file back, or forget the data with `npm run reset`.',
    });
  }
  const fresh: LocalServers = { password: randomBytes(12).toString('hex') };
  writeJson(paths.secrets, fresh);
  return fresh;
}

/** The same addresses next time, as long as nobody takes them. What has no port keeps the one it had. */
export function rememberPorts(paths: Paths, ports: Omit<LocalServers, 'password'>): void {
  const known = readLocalServers(paths);
  const set = Object.entries(ports).filter(([, port]) => port !== undefined);
  const next = { ...known, ...Object.fromEntries(set) };
  if (!isDeepStrictEqual(next, known)) writeJson(paths.secrets, next);
}

/** What runs on this folder. Throws `not-running` when nothing does. */
export function readRun(paths: Paths): RunRecord {
  const run = holderOf(paths) && readJson<RunRecord>(paths.run);
  if (run) return run;
  const isStarting = holderOf(paths) !== null;
  throw new FreshetError({
    code: 'not-running',
    message: isStarting ? `Freshet is still starting on ${paths.root}` : `Nothing runs on ${paths.root}`,
    hint: isStarting ? 'Try again in a second.' : 'Start it with `npm start`.',
  });
}
