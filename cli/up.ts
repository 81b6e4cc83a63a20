import { readSettings } from '../shared/config.ts';
import { describe } from '../shared/errors.ts';
import { type Call, type Command, exitCode } from './command.ts';
import { panel } from './up/panel.ts';
import { Stack } from './up/stack.ts';

/** Signals this close together are one: a terminal's, npm's and the bootstrap's arrive as three. */
const sameSignalMs = 500;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Resolves when somebody wants the end; from then on, one more wish means "at once". */
function untilTold(atOnce: () => void): { readonly told: Promise<void>; readonly signal: AbortSignal } {
  const end = new AbortController();
  const told = new Promise<void>(resolve => {
    let firstAtMs: number | null = null;
    const wish = (): void => {
      const nowMs = performance.now();
      if (firstAtMs !== null && nowMs - firstAtMs > sameSignalMs) atOnce();
      firstAtMs ??= nowMs;
      end.abort();
      resolve();
    };
    for (const name of signals) process.on(name, wish);
    // The way in passes its own Ctrl-C on as a word: one key pressed is one wish, however late the word comes.
    process.on('message', word => {
      if (word === 'interrupted' && firstAtMs === null) wish();
    });
    // Whoever started us is gone, however that came about; at the end of a stop it is we who hang up.
    process.once('disconnect', () => {
      if (firstAtMs === null) wish();
    });
  });
  return { told, signal: end.signal };
}

async function up({ env, print }: Call): Promise<number> {
  const { told, signal } = untilTold(() => {
    print('stopping at once');
    void stack.kill().finally(() => process.exit(exitCode.trouble));
  });
  const settings = readSettings(env);
  const stack = new Stack({ settings, env, signal, say: line => print(`- ${line}`) });
  try {
    const run = await stack.start();
    // Since the process began: what a person waits for.
    const tookMs = performance.now();
    for (const line of panel({ run, settings, tookMs, path: env.PATH ?? '' })) print(line);
  } catch (error) {
    if (!signal.aborted) throw error;
    print('stopped before everything was up');
    return exitCode.good;
  }
  await told;
  print('\nstopping …');
  const began = performance.now();
  try {
    await stack.stop();
  } catch (error) {
    const troubles = error instanceof AggregateError ? error.errors : [error];
    for (const trouble of troubles) print(`- ${describe(trouble)}`);
    return exitCode.trouble;
  }
  print(`stopped (${((performance.now() - began) / 1000).toFixed(2)} s)`);
  return exitCode.good;
}

/** Starts everything and stays until it is told to stop. */
export const command: Command = { usage: '', options: {}, run: up };
