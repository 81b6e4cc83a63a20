import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RunRecord } from '../../cli/data-folder.ts';
import { freePort } from '../../shared/local/ports.ts';
import { markOf } from '../../shared/local/processes.ts';
import { eventually } from './eventually.ts';

const home = fileURLToPath(new URL('../..', import.meta.url));
const startLimitMs = 60_000;
/** A command that should have ended, and runs on, must not keep the whole run from ending. */
const commandLimitMs = 60_000;

/** The whole of Freshet as people start it: `node start.mjs up`, on a data folder and ports of its own. */
export class Instance {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly apiPort: number;
  readonly consolePort: number;
  #child: ChildProcess | null = null;
  #ended: Promise<number> | null = null;
  /** All that it printed since the last start. */
  printed = '';

  private constructor(
    dataDir: string,
    apiPort: number,
    consolePort: number,
    env: Record<string, string | undefined>,
  ) {
    this.dataDir = dataDir;
    this.apiPort = apiPort;
    this.consolePort = consolePort;
    this.env = {
      ...process.env,
      FRESHET_DATA_DIR: dataDir,
      FRESHET_API_PORT: String(apiPort),
      FRESHET_CONSOLE_PORT: String(consolePort),
      ...env,
    };
  }

  static async create(env: Record<string, string | undefined> = {}): Promise<Instance> {
    const folder = mkdtempSync(join(tmpdir(), 'freshet-up-'));
    mkdirSync(join(folder, 'data'));
    return new Instance(join(folder, 'data'), await freePort(), await freePort(), env);
  }

  /** Another start with something else in its environment. */
  with(env: Record<string, string | undefined>): Instance {
    return new Instance(this.dataDir, this.apiPort, this.consolePort, { ...this.env, ...env });
  }

  /** Runs one command to its end. */
  async command(...words: string[]): Promise<{ code: number; printed: string }> {
    this.#spawn(words);
    const timer = setTimeout(() => this.#child?.kill('SIGTERM'), commandLimitMs);
    const code = await this.#ended!;
    clearTimeout(timer);
    return { code, printed: this.printed };
  }

  /** Starts it and waits for its panel. */
  async up(): Promise<RunRecord> {
    this.#spawn(['up']);
    const ended = this.#ended!.then(code => `it ended with exit code ${code}`);
    let end: string | null = null;
    void ended.then(how => {
      end = how;
    });
    await eventually(
      'Freshet is up',
      () => ({ printed: this.printed, end }),
      seen => seen.printed.includes('Ctrl-C stops everything') || seen.end !== null,
      startLimitMs,
    );
    if (end !== null) throw new Error(`${end}:\n${this.printed}`);
    return this.run();
  }

  run(): RunRecord {
    return JSON.parse(readFileSync(join(this.dataDir, 'run.json'), 'utf8'));
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** The bootstrap's pid: what a shell or a service manager knows. */
  get pid(): number {
    return this.#child!.pid!;
  }

  /** Resolves with the exit code. */
  ended(): Promise<number> {
    return this.#ended!;
  }

  /** What Ctrl-C does: the signal goes to the whole process group of the terminal. */
  async ctrlC(): Promise<number> {
    process.kill(-this.pid, 'SIGINT');
    return this.#ended!;
  }

  /** Ends it if it runs, and removes its data. */
  async remove(): Promise<void> {
    if (this.isRunning) {
      this.#child?.kill('SIGTERM');
      await this.#ended;
    }
    await this.command('reset');
    rmSync(join(this.dataDir, '..'), { recursive: true, force: true });
  }

  #spawn(words: readonly string[]): void {
    this.printed = '';
    const child = spawn(process.execPath, [join(home, 'start.mjs'), ...words], {
      env: this.env,
      cwd: home,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const take = (chunk: Buffer): void => {
      this.printed += chunk.toString('utf8');
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    this.#child = child;
    this.#ended = new Promise(resolve => {
      child.once('close', (code, signal) => resolve(code ?? (signal === null ? -1 : -2)));
    });
  }
}

/** Every process that a run.json names. */
export const pidsOf = ({ pids }: RunRecord): number[] =>
  Object.values(pids)
    .flat()
    .filter(pid => pid !== null);

export const areGone = (pids: readonly number[]): boolean => pids.every(pid => markOf(pid) === null);
