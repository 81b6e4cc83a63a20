import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lockDataFolder, makeDataFolder, pathsOf, type RunRecord, writeJson } from '../../cli/data-folder.ts';
import type { World } from './world.ts';

export interface Said {
  readonly code: number;
  readonly text: string;
}

export interface Cli {
  run(...words: readonly string[]): Promise<Said>;
  close(): void;
}

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

/** The real command line, in a data folder that says that `world` is what runs. */
export function openCli(world: World): Cli {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-cli-'));
  const paths = pathsOf(folder);
  makeDataFolder(paths);
  const unlock = lockDataFolder(paths);
  const record: RunRecord = {
    api: 'http://127.0.0.1:1',
    console: 'http://127.0.0.1:1',
    metrics: [],
    databaseUrl: world.database.url,
    cacheRedisUrl: world.cacheUrl,
    queueRedisUrl: world.queueUrl,
    feed: 'wal',
    pids: {
      supervisor: process.pid,
      api: [],
      workers: [],
      postgres: null,
      cacheRedis: null,
      queueRedis: null,
    },
  };
  writeJson(paths.run, record);
  const env = {
    PATH: process.env.PATH,
    FRESHET_DATA_DIR: folder,
    FRESHET_NAMESPACE: world.namespace.slice('freshet:'.length),
  };
  return {
    run: (...words) =>
      new Promise(resolve => {
        execFile(process.execPath, [entry, ...words], { env, cwd: folder }, (error, stdout, stderr) =>
          resolve({ code: Number(error?.code ?? 0), text: stdout + stderr }),
        );
      }),
    close() {
      unlock();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
