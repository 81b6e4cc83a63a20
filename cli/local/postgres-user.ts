import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { FreshetError } from '../../shared/errors.ts';

/** Whom Postgres runs as; no ids where it simply runs as ourselves. */
export interface RunsAs {
  readonly uid?: number;
  readonly gid?: number;
}

const accountName = 'postgres';
const searchBits = { owner: 0o100, group: 0o010, others: 0o001 };

function findAccount(): Required<RunsAs> | null {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(entry => entry.startsWith(`${accountName}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid && gid ? { uid: Number(uid), gid: Number(gid) } : null;
}

/** Postgres refuses to run as root: then it runs as `postgres`, which is created where it is missing. */
export function postgresRunsAs(say: (line: string) => void): RunsAs {
  if (process.getuid?.() !== 0) return {};
  const found = findAccount();
  if (found) return found;
  say(`creating the system account ${accountName}: Postgres refuses to run as root`);
  try {
    execFileSync('groupadd', ['--system', '--force', accountName], { stdio: 'pipe' });
    execFileSync('useradd', ['--system', '--gid', accountName, '--no-create-home', accountName], {
      stdio: 'pipe',
    });
  } catch (cause) {
    throw new FreshetError({
      code: 'no-postgres-account',
      message: `Postgres refuses to run as root, and the account ${accountName} could not be created: ${String(cause)}`,
      hint: 'Run as an ordinary user, or create the account yourself and start again.',
      cause,
    });
  }
  const created = findAccount();
  if (!created)
    throw new FreshetError({ code: 'no-postgres-account', message: `useradd made no ${accountName}` });
  return created;
}

/** Whether `as` may walk down to `path`: the search permission of every folder above it. */
function canReach(path: string, as: Required<RunsAs>): boolean {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const { mode, uid, gid } = statSync(folder);
    const bit = uid === as.uid ? searchBits.owner : gid === as.gid ? searchBits.group : searchBits.others;
    if ((mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

export const isReachable = (path: string, as: RunsAs): boolean =>
  as.uid === undefined || as.gid === undefined || canReach(path, { uid: as.uid, gid: as.gid });

/** Where things go that the account cannot reach at their own place (a project below /root, say). */
export const outsideFolder = '/var/lib/freshet';

/** The installation at `native`, or a copy that the account can reach, made once for each `version`. */
export function reachableBinaries(
  native: string,
  version: string,
  as: RunsAs,
  say: (line: string) => void,
): string {
  if (isReachable(join(native, 'bin', 'postgres'), as)) return native;
  const copy = join(outsideFolder, `postgres-${version}`);
  if (existsSync(copy)) return copy;
  say(`${accountName} cannot read ${native}: copying Postgres to ${copy}`);
  const half = `${copy}.${process.pid}`;
  try {
    cpSync(native, half, { recursive: true, verbatimSymlinks: true });
    renameSync(half, copy);
  } catch (cause) {
    rmSync(half, { recursive: true, force: true });
    if (!existsSync(copy)) throw cause; // Somebody else's start made the same copy first.
  }
  return copy;
}

/** Makes `folder` (and what is above it) and gives it to the account. */
export function makeFolderFor(folder: string, as: RunsAs): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  if (as.uid !== undefined && as.gid !== undefined) chownSync(folder, as.uid, as.gid);
}
