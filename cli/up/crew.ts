import { type ProcessSettings, toEnvironment } from '../../shared/config.ts';
import { type Role, type RunningChild, startChild } from './children.ts';
import { Kept } from './kept.ts';

export interface CrewOptions {
  readonly settings: ProcessSettings;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: (role: Role) => string;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onRestart: () => void;
}

interface Child {
  readonly role: Role;
  readonly kept: Kept<RunningChild>;
}

/** The processes of Freshet itself, kept running. */
export class Crew {
  readonly #children: Child[] = [];

  /** Starts all of them at the same time. Throws what kept one of them from starting; the others run on. */
  async start(options: CrewOptions): Promise<void> {
    const { settings, logFile, signal, say, onRestart } = options;
    const { workerProcesses, apiProcesses } = settings;
    const env = { ...options.env, ...toEnvironment(settings) };
    const names = { api: 'an API process', worker: workerProcesses === 1 ? 'the worker' : 'a worker' };
    const start = async (role: Role): Promise<void> => {
      const kept = await Kept.start({
        name: names[role],
        start: () => startChild({ role, env, logFile: logFile(role), signal }),
        onRestart,
        say,
      });
      this.#children.push({ role, kept });
    };
    const roles = [
      ...Array.from({ length: workerProcesses }, (): Role => 'worker'),
      ...Array.from({ length: apiProcesses }, (): Role => 'api'),
    ];
    const starts = await Promise.allSettled(roles.map(start));
    const failed = starts.find(result => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  running(role?: Role): RunningChild[] {
    return this.#children.flatMap(({ kept: { current } }) =>
      current && (role === undefined || current.role === role) ? [current] : [],
    );
  }

  async stop(role: Role): Promise<void> {
    await Promise.all(this.#children.filter(child => child.role === role).map(({ kept }) => kept.stop()));
  }

  async kill(): Promise<void> {
    await Promise.allSettled(this.#children.map(({ kept }) => kept.kill()));
  }
}
