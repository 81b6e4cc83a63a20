import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { FreshetError } from '../../shared/errors.ts';
import { aptWithoutAsking, installByApt, onPath } from '../../shared/local/programs.ts';

const programs = ['redis-server', 'valkey-server'];
/** Scripts that must run when memory is full say so by a flag, which 7.0 brought. */
const oldest = { major: 7, minor: 0 };

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
  const apt = aptWithoutAsking(path);
  if (apt) {
    trouble = installByApt(apt, 'Redis', ['redis-server'], say) ?? '';
    const installed = findOnPath(path);
    if (installed) return checkVersion(installed);
  }
  throw new FreshetError({
    code: 'no-redis',
    message: `Neither ${programs.join(' nor ')} is on the PATH${trouble && `, and apt could not install it: ${trouble}`}`,
    hint: `Run \`${installCommand()}\`, or set REDIS_URL and QUEUE_REDIS_URL to two servers of your own.`,
  });
}
