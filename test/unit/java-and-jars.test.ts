import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readyJars } from '../../connectors/local/jars.ts';
import { findOrInstallJava, findOrInstallMaven } from '../../connectors/local/java.ts';
import { propertiesText } from '../../connectors/local/properties.ts';
import { FreshetError } from '../../shared/errors.ts';
import { eventually } from '../support/eventually.ts';

let folder: string;
let said: string[];
const say = (line: string): void => void said.push(line);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-jars-'));
  mkdirSync(join(folder, 'bin'));
  said = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A program of that name, on the only path there is. */
async function program(name: string, script: string, where = 'bin'): Promise<string> {
  const file = join(folder, where, name);
  mkdirSync(join(folder, where), { recursive: true });
  await writeFile(file, `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}
const javaOf = (version: string): string => `echo 'openjdk version "${version}" 2025-04-15' >&2`;
const env = (more: Record<string, string> = {}) => ({ PATH: join(folder, 'bin'), FOLDER: folder, ...more });

function refusal(attempt: () => unknown): FreshetError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('it was found');
}

describe('Java', () => {
  test.each(['17.0.15', '21', '25-ea'])('%s on the path is taken', async version => {
    const file = await program('java', javaOf(version));
    expect(findOrInstallJava({ env: env(), say })).toBe(file);
  });

  test('one that JAVA_HOME names serves where the one on the path is too old', async () => {
    await program('java', javaOf('11.0.2'));
    const newer = await program('java', javaOf('17.0.1'), 'home/bin');
    expect(findOrInstallJava({ env: env({ JAVA_HOME: join(folder, 'home') }), say })).toBe(newer);
  });

  test.each([
    ['none', null, 'there is none on the PATH or in JAVA_HOME'],
    ['an old one', javaOf('1.8.0_292'), '/bin/java is Java 8'],
    ['a stub that only asks for one', 'echo no runtime present; exit 1', 'there is none on the PATH'],
  ])('%s: one message that says what is needed and how to get it', async (_what, script, seen) => {
    if (script) await program('java', script);
    const { code, message, hint } = refusal(() => findOrInstallJava({ env: env(), say }));
    expect(code).toBe('no-java');
    expect(message).toContain('need Java 17 or newer');
    expect(message).toContain(seen);
    expect(hint).toMatch(/^Run `.+`, or set FRESHET_KAFKA_BROKERS and FRESHET_CONNECT_URL/);
    expect(said).toEqual([]);
  });

  test('root has it installed, after being told; nobody else does', async () => {
    const java = join(folder, 'bin', 'java');
    await program(
      'apt-get',
      `test "$1 $4" = 'install openjdk-21-jre-headless' || { echo 'no such package' >&2; exit 100; }
       printf '#!/bin/sh\\necho openjdk version \\\\"21.0.1\\\\"\\n' > ${java}; chmod 755 ${java}`,
    );
    if (process.getuid?.() === 0) {
      expect(findOrInstallJava({ env: env(), say })).toBe(java);
      expect(said[0]).toBe('Java 17 is not installed: apt-get install -y openjdk-17-jre-headless');
      expect(said.at(-1)).toBe('Java 17 is not installed: apt-get install -y openjdk-21-jre-headless');
    } else {
      expect(refusal(() => findOrInstallJava({ env: env(), say })).code).toBe('no-java');
      expect(said).toEqual([]);
    }
  });
});

test('without Maven: one message with the command that brings it', () => {
  const { code, message, hint } = refusal(() => findOrInstallMaven({ env: env(), say }));
  expect(code).toBe('no-maven');
  expect(message).toContain('there is no mvn on the PATH');
  expect(hint).toMatch(/^Run `.*maven.*`/i);
});

/** A Maven that takes note of each run and brings two folders. */
const maven = `echo run >> $FOLDER/runs
for word; do case $word in -Dout=*) out=\${word#-Dout=};; esac; done
mkdir -p "$out/libs" "$out/maven"
`;
const good = `${maven}mkdir "$out/plugins"`;

describe('jars', () => {
  const cache = (): string => join(folder, 'cache');
  const options = (more: Record<string, string> = {}) => ({ env: env(more), say, cache: cache() });
  const runs = (): number => readFileSync(join(folder, 'runs'), 'utf8').split('\n').length - 1;
  const inCache = (): string[] => readdirSync(cache()).toSorted();

  test('are fetched once, and are then there without Maven', async () => {
    await program('mvn', good);
    const jars = await readyJars(options());
    expect(existsSync(jars.libs) && existsSync(jars.plugins)).toBe(true);
    expect(said[0]).toMatch(/^fetching Kafka \d+\.\d+\.\d+ and Debezium \d+\.\d+\.\d+\.Final/);
    rmSync(join(folder, 'bin', 'mvn'));
    expect(await readyJars(options())).toEqual(jars);
    expect(runs()).toBe(1);
    expect(inCache()).toEqual([expect.stringMatching(/^kafka-[0-9a-f]{16}$/)]);
  });

  test('progress is told while they come', async () => {
    await program(
      'mvn',
      `${good}
       echo '[INFO] Downloaded from central: https://repo.example/a.jar (1.5 MB at 2.0 MB/s)'
       echo '[INFO] Downloaded from central: https://repo.example/b.jar (9900 kB at 2.0 MB/s)'
       echo '[INFO] Downloaded from central: https://repo.example/c.jar (500 B at 2.0 MB/s)'`,
    );
    await readyJars(options());
    expect(said.slice(1)).toEqual(['  2 files, 11 MB so far']);
  });

  test('two processes that want them fetch them once', async () => {
    // It ends with the test, too.
    await program('mvn', `${good}\nwhile test -d $FOLDER -a ! -e $FOLDER/go; do sleep 0.02; done`);
    const jars = new URL('../../connectors/local/jars.ts', import.meta.url).href;
    const script = `const { readyJars } = await import(${JSON.stringify(jars)});
      await readyJars({ env: process.env, cache: process.env.CACHE, say: console.log });`;
    const other = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: env({ CACHE: cache() }),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    other.stdout.on('data', chunk => {
      printed += chunk;
    });
    const ended = once(other, 'close') as Promise<[number]>;
    const fetching = [readyJars(options()), readyJars(options())];
    await eventually(
      'one fetches, two wait',
      () => [...said, ...printed.split('\n')].map(line => / is fetching .* waiting for it$/.test(line)),
      lines => lines.filter(Boolean).length === 2,
    );
    await writeFile(join(folder, 'go'), '');
    const [mine] = await Promise.all(fetching);
    const [code] = await ended;
    expect({ code, there: existsSync(mine!.libs), runs: runs() }).toEqual({ code: 0, there: true, runs: 1 });
    expect(inCache()).toHaveLength(1);
  });

  test('what Maven complains of is told, and nothing half is left', async () => {
    await program('mvn', `${maven}echo '[ERROR] No route to the repository'\necho '[ERROR] Re-run'\nexit 1`);
    await expect(readyJars(options())).rejects.toMatchObject({
      code: 'jars-not-fetched',
      message: expect.stringMatching(/\(exit code 1\): No route to the repository$/),
      retryable: true,
    });
    expect(inCache()).toEqual([]);
    await program('mvn', good);
    expect(existsSync((await readyJars(options())).plugins)).toBe(true);
  });

  test('a fetch that was killed is begun again by the next, after its Maven and its half are cleared away', async () => {
    await program('mvn', `${maven}touch $FOLDER/began; exec sleep 60`);
    const jars = new URL('../../connectors/local/jars.ts', import.meta.url).href;
    const script = `const { readyJars } = await import(${JSON.stringify(jars)});
      await readyJars({ env: process.env, cache: process.env.CACHE, say() {} });`;
    const killed = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: env({ CACHE: cache() }),
      stdio: 'ignore',
    });
    await eventually(
      'Maven has begun',
      () => existsSync(join(folder, 'began')),
      began => began,
    );
    killed.kill('SIGKILL');
    await once(killed, 'close');
    expect(inCache()).toHaveLength(2);
    await program('mvn', good);
    expect(existsSync((await readyJars(options())).plugins)).toBe(true);
    expect(said[0]).toMatch(/^stopping the Maven that an earlier run left behind/);
    expect(inCache()).toHaveLength(1);
  });

  test('a fetch that is no longer wanted ends', async () => {
    await program('mvn', `${maven}touch $FOLDER/began; exec sleep 60`);
    const end = new AbortController();
    const fetching = readyJars({ ...options(), signal: end.signal });
    fetching.catch(() => {});
    await eventually(
      'Maven has begun',
      () => existsSync(join(folder, 'began')),
      began => began,
    );
    end.abort();
    await expect(fetching).rejects.toMatchObject({ name: 'AbortError' });
    expect(inCache()).toEqual([]);
  });
});

test.each([
  ['plain', 'plain'],
  ['C:\\data', 'C:\\\\data'],
  [' two words ', '\\ two words '],
  ['a=b:c#d!', 'a=b:c#d!'],
  ['zwölf\n€', 'zw\\u00f6lf\\u000a\\u20ac'],
  ['𝄞', '\\ud834\\udd1e'],
])('the value %j of a properties file is written as %s', (value, text) => {
  expect(propertiesText({ name: value })).toBe(`name=${text}\n`);
});
