import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The file that a shell would run for `program`; null where no folder of the path has it. */
export function onPath(program: string, path: string): string | null {
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

/** apt-get, where packages can be installed without asking anybody for a password; else null. */
export const aptWithoutAsking = (path: string): string | null =>
  process.getuid?.() === 0 ? onPath('apt-get', path) : null;

/** Installs packages by apt, after saying so; null when it went well, else the last line of its complaint. */
export function installByApt(
  apt: string,
  what: string,
  packages: readonly string[],
  say: (line: string) => void,
): string | null {
  // Debian's policy: in single-user mode a package starts no service of its own.
  const run = (...args: string[]) =>
    spawnSync('env', ['DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', apt, ...args], { encoding: 'utf8' });
  const install = () => run('install', '-y', '--no-install-recommends', ...packages);
  say(`${what} is not installed: apt-get install -y ${packages.join(' ')}`);
  if (install().status === 0) return null;
  say('apt does not know it yet: apt-get update, then once more');
  run('update');
  const second = install();
  if (second.status === 0) return null;
  return (second.stderr ?? second.error?.message ?? '').trim().split('\n').at(-1)!;
}
