import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { FreshetError } from '../../shared/errors.ts';
import { isReachable, makeFolderFor, outsideFolder, type RunsAs } from './postgres-user.ts';

const run = promisify(execFile);

export interface ClusterOptions {
  /** Where the cluster is wanted; a symbolic link stands there when Postgres's account cannot reach the place. */
  readonly folder: string;
  readonly major: string;
  readonly initdb: string;
  readonly runsAs: RunsAs;
  readonly superuser: string;
  /** null: no password is asked for (tests). */
  readonly password: string | null;
  /** false leaves out every fsync while the cluster is made (tests). */
  readonly sync: boolean;
}

/** From this version on Postgres has a C.UTF-8 of its own: the same order on every machine, whatever locales it has. */
const firstWithOwnLocale = 17;

const broken = (folder: string, what: string): FreshetError =>
  new FreshetError({
    code: 'broken-data-folder',
    message: `The database in ${folder} cannot be used: ${what}`,
    hint: '`npm run reset` forgets the data and starts anew; or put the folder back as it was.',
  });

/** The real folder for `wanted`: itself, or one outside with a link to it. Nothing is made but the link. */
function settlePlace({ folder, runsAs }: ClusterOptions): string {
  if (existsSync(folder)) return realpathSync(folder);
  if (isReachable(folder, runsAs)) return folder;
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 16);
  const outside = join(outsideFolder, `data-${name}`);
  mkdirSync(outsideFolder, { recursive: true, mode: 0o755 });
  // A link that is gone means that the data was to be forgotten: what it pointed to must not come back.
  rmSync(outside, { recursive: true, force: true });
  rmSync(folder, { force: true });
  symlinkSync(outside, folder);
  return outside;
}

/** Who owns the files already there: a folder made by somebody else cannot be opened, except by root. */
function checkOwner(place: string, runsAs: RunsAs): void {
  const mine = runsAs.uid ?? process.getuid?.();
  const { uid } = statSync(place);
  if (mine !== undefined && uid !== mine)
    throw broken(place, `it belongs to user ${uid}, and we run it as ${mine}`);
}

/** Makes a cluster under another name and moves it into place whole: a start cut short leaves nothing half-made. */
async function makeCluster(place: string, options: ClusterOptions): Promise<void> {
  const half = `${place}.new`;
  const secret = `${half}.password`;
  rmSync(half, { recursive: true, force: true });
  makeFolderFor(half, options.runsAs);
  const { uid, gid } = options.runsAs;
  if (options.password !== null) {
    writeFileSync(secret, `${options.password}\n`, { mode: 0o600 });
    if (uid !== undefined && gid !== undefined) chownSync(secret, uid, gid);
  }
  const flags = [
    `--pgdata=${half}`,
    `--username=${options.superuser}`,
    '--encoding=UTF8',
    '--locale=C',
    ...(Number(options.major) >= firstWithOwnLocale
      ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8']
      : []),
    '--no-instructions',
    ...(options.password === null ? ['--auth=trust'] : ['--auth=scram-sha-256', `--pwfile=${secret}`]),
    ...(options.sync ? [] : ['--no-sync']),
  ];
  try {
    await run(options.initdb, flags, { cwd: '/', env: { ...process.env, LC_ALL: 'C' }, ...options.runsAs });
  } catch (cause) {
    rmSync(half, { recursive: true, force: true });
    const { stderr } = cause as { stderr?: string };
    throw new FreshetError({
      code: 'postgres-not-made',
      message: `initdb could not make a database in ${place}: ${stderr?.trim() || String(cause)}`,
      cause,
    });
  } finally {
    rmSync(secret, { force: true });
  }
  renameSync(half, place);
}

/** The cluster's real folder, made where there is none. `isNew`: it holds nothing yet. */
export async function prepareCluster(options: ClusterOptions): Promise<{ place: string; isNew: boolean }> {
  const place = settlePlace(options);
  if (existsSync(place) && (!lstatSync(place).isDirectory() || readdirSync(place).length > 0)) {
    const versionFile = join(place, 'PG_VERSION');
    if (!existsSync(versionFile)) throw broken(place, `${basename(versionFile)} is missing`);
    const version = readFileSync(versionFile, 'utf8').trim();
    if (version !== options.major)
      throw broken(place, `it is of Postgres ${version}, and this is ${options.major}`);
    checkOwner(place, options.runsAs);
    return { place, isNew: false };
  }
  rmSync(place, { recursive: true, force: true });
  await makeCluster(place, options);
  return { place, isNew: true };
}

/** Removes a cluster, also where only a link to it stands. */
export function forgetCluster(folder: string): void {
  if (existsSync(folder)) rmSync(realpathSync(folder), { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
}
