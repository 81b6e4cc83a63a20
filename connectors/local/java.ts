import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FreshetError } from '../../shared/errors.ts';
import { aptWithoutAsking, installByApt, onPath } from '../../shared/local/programs.ts';

export interface Seeker {
  /** PATH and JAVA_HOME of it are looked at. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly say: (line: string) => void;
}

/** What Kafka's servers ask for. */
const oldestJava = 17;
/** A system has one of them: newer ones no longer bring 17. */
const javaPackages = ['openjdk-17-jre-headless', 'openjdk-21-jre-headless', 'default-jre-headless'] as const;

/** The one command that brings `what` to this system, for people to run. */
function installCommand(what: 'java' | 'maven'): string {
  if (process.platform === 'darwin')
    return what === 'java' ? 'brew install openjdk@21' : 'brew install maven';
  const managers: readonly (readonly [string, string, string])[] = [
    ['/usr/bin/apt-get', 'sudo apt-get install -y default-jre-headless', 'sudo apt-get install -y maven'],
    ['/usr/bin/dnf', 'sudo dnf install -y java-21-openjdk-headless', 'sudo dnf install -y maven'],
    ['/sbin/apk', 'apk add openjdk21-jre-headless', 'apk add maven'],
    ['/usr/bin/pacman', 'sudo pacman -S jre21-openjdk-headless', 'sudo pacman -S maven'],
    ['/usr/bin/zypper', 'sudo zypper install java-21-openjdk-headless', 'sudo zypper install maven'],
  ];
  const found = managers.find(([manager]) => existsSync(manager));
  if (!found) return what === 'java' ? `install Java ${oldestJava} or newer` : 'install Apache Maven';
  return what === 'java' ? found[1] : found[2];
}

/** Major version of the Java at `file`; null where it is none (macOS has a stub that only asks for one). */
function javaVersion(file: string): number | null {
  const { status, stderr, stdout } = spawnSync(file, ['-version'], { encoding: 'utf8' });
  const major = /version "(?:1\.)?(\d+)/.exec(`${stderr}${stdout}`)?.[1];
  return status === 0 && major !== undefined ? Number(major) : null;
}

interface Found {
  readonly file: string;
  readonly version: number;
}

function findJava({ env }: Seeker): Found[] {
  const home = env.JAVA_HOME ? onPath('java', join(env.JAVA_HOME, 'bin')) : null;
  const files = [onPath('java', env.PATH ?? ''), home].filter(file => file !== null);
  return files.flatMap(file => {
    const version = javaVersion(file);
    return version === null ? [] : [{ file, version }];
  });
}

const fits = (found: readonly Found[]): string | undefined =>
  found.find(({ version }) => version >= oldestJava)?.file;

/** A Java that is new enough: on the PATH, in JAVA_HOME, else installed by apt where that needs no password. */
export function findOrInstallJava(seeker: Seeker): string {
  const found = findJava(seeker);
  const good = fits(found);
  if (good !== undefined) return good;
  let trouble: string | null = null;
  const apt = aptWithoutAsking(seeker.env.PATH ?? '');
  for (const name of apt ? javaPackages : []) {
    trouble = installByApt(apt!, `Java ${oldestJava}`, [name], seeker.say);
    const installed = fits(findJava(seeker));
    if (installed !== undefined) return installed;
  }
  const seen = found.map(({ file, version }) => `${file} is Java ${version}`).join(', ');
  throw new FreshetError({
    code: 'no-java',
    message:
      `Kafka and Kafka Connect need Java ${oldestJava} or newer, and ` +
      `${seen || 'there is none on the PATH or in JAVA_HOME'}${trouble ? `; apt could not install it: ${trouble}` : ''}`,
    hint: `Run \`${installCommand('java')}\`, or set FRESHET_KAFKA_BROKERS and FRESHET_CONNECT_URL to servers of your own.`,
  });
}

/** Maven, which fetches the jars: on the PATH, else installed by apt where that needs no password. */
export function findOrInstallMaven({ env, say }: Seeker): string {
  const path = env.PATH ?? '';
  const found = onPath('mvn', path);
  if (found) return found;
  const apt = aptWithoutAsking(path);
  const trouble = apt && installByApt(apt, 'Maven', ['maven'], say);
  const installed = onPath('mvn', path);
  if (installed) return installed;
  throw new FreshetError({
    code: 'no-maven',
    message: `Maven fetches the jars of Kafka and Debezium, and there is no mvn on the PATH${trouble ? `; apt could not install it: ${trouble}` : ''}`,
    hint: `Run \`${installCommand('maven')}\`, or set FRESHET_KAFKA_BROKERS and FRESHET_CONNECT_URL to servers of your own.`,
  });
}
