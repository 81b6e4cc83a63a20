import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { FreshetError } from '../../shared/errors.ts';

const programs = ['redis-server', 'valkey-server'];
/** Scripts that must run when memory is full say so by a flag, which 7.0 brought. */
const oldest = { major: 7, minor: 0 };

function onPath(program: string, path: string): string | null {
  for (const folder of path.split(delimiter).filter(Boolean)) {
    const file = join(folder, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}

const findOnPath = (path: string): string | null =>
  programs.map(program => onPath(program, path)).find(found => found !== null) ?? null;

/** The one command that brings Redis to this system, for people to run. */
function installCommand(): string {
  if (process.platform === 'darwin') return 'brew install redis';
  const managers: readonly (readonly [string, string])[] = [
    ['/usr/bin/apt-get', 'sudo apt-get install -y redis-server'],
    ['/usr/bin/dnf', 'sudo dnf install -y valkey'],
    ['/usr/bin/yum', 'sudo yum install -y redis'],
    ['/sbin/apk', 'apk add redis'],
    ['/usr/bin/pacman', 'sudo pacman -S valkey'],
    ['/usr/bin/zypper', 'sudo zypper install redis'],
  ];
  return managers.find(([manager]) => existsSync(manager))?.[1] ?? 'install redis-server 7.0 or newer';
}

function installByApt(say: (line: string) => void): string | null {
  const env = {
    ...process.env,
    DEBIAN_FRONTEND: 'noninteractive',
    RUNLEVEL: '1', // Debian's policy: in single-user mode a package starts no service of its own.
  };
  const apt = (...args: string[]) => spawnSync('apt-get', args, { env, encoding: 'utf8' });
  say('Redis is not installed: apt-get install -y redis-server');
  if (apt('install', '-y', '--no-install-recommends', 'redis-server').status === 0) return null;
  say('apt does not know it yet: apt-get update, then once more');
  apt('update');
  const second = apt('install', '-y', '--no-install-recommends', 'redis-server');
  return second.status === 0
    ? null
    : (second.stderr ?? second.error?.message ?? '').trim().split('\n').at(-1)!;
}

function checkVersion(file: string): string {
  const printed = execFileSync(file, ['--version'], { encoding: 'utf8' });
  const [, major, minor] = /v=(\d+)\.(\d+)/.exec(printed) ?? [];
  if (Number(major) * 100 + Number(minor) >= oldest.major * 100 + oldest.minor) return file;
  throw new FreshetError({
    code: 'redis-too-old',
    message: `${file} is version ${major}.${minor}, and ${oldest.major}.${oldest.minor} is the oldest that works`,
    hint: 'Install a newer one, or set REDIS_URL and QUEUE_REDIS_URL to servers of your own.',
  });
}

/** `redis-server` or `valkey-server`, installed by apt where that is possible without asking for a password. */
export function redisBinary(say: (line: string) => void, path = process.env.PATH ?? ''): string {
  const found = findOnPath(path);
  if (found) return checkVersion(found);
  let trouble = '';
  if (process.getuid?.() === 0 && onPath('apt-get', path)) {
    trouble = installByApt(say) ?? '';
    const installed = findOnPath(path);
    if (installed) return checkVersion(installed);
  }
  throw new FreshetError({
    code: 'no-redis',
    message: `Neither ${programs.join(' nor ')} is on the PATH${trouble && `, and apt could not install it: ${trouble}`}`,
    hint: `Run \`${installCommand()}\`, or set REDIS_URL and QUEUE_REDIS_URL to two servers of your own.`,
  });
}
