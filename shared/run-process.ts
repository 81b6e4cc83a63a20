import { randomUUID } from 'node:crypto';
import { describe } from './errors.ts';
import { Lifecycle } from './lifecycle.ts';
import type { Observer } from './observe.ts';

export interface Started {
  /** Base URL of the process's own admin listener, told to the supervisor. */
  readonly metrics: string;
  readonly observer: Observer;
}

const CLOSE_EACH_WITHIN_MS = 8_000;

/**
 * The frame of a process: opens, tells its supervisor, runs until it is told to stop, closes in the opposite order,
 * and ends because nothing is left to do. SIGTERM, SIGINT and the loss of the supervisor's channel all mean "stop".
 */
export async function runProcess(
  role: 'api' | 'worker',
  open: (id: string, lifecycle: Lifecycle) => Promise<Started>,
): Promise<void> {
  const id = `${role}-${process.pid}-${randomUUID().slice(0, 4)}`;
  const lifecycle = new Lifecycle();
  let observer: Observer | null = null;

  const stop = async (why: string, exitCode: number): Promise<void> => {
    if (lifecycle.isClosing) return;
    const startMs = performance.now();
    observer?.emit({ type: 'process.stopping', role, why });
    try {
      await lifecycle.close(CLOSE_EACH_WITHIN_MS);
    } catch (error) {
      process.stderr.write(`${role}: ${describe(error)}\n`);
      exitCode ||= 1;
    }
    observer?.emit({ type: 'process.stopped', role, durationMs: performance.now() - startMs });
    process.exitCode = exitCode;
    // The channel would keep the loop alive; whoever still listens learns of the end by the exit.
    if (process.connected) process.disconnect();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal, 0));
  if (process.send) process.on('disconnect', () => void stop('the supervisor is gone', 0));
  process.on('uncaughtException', error => {
    process.stderr.write(`${role}: ${error.stack}\n`);
    void stop('an error that nobody expected', 1);
  });

  try {
    const started = await open(id, lifecycle);
    observer = started.observer;
    if (lifecycle.isClosing) return;
    process.send?.({ type: 'ready', role, metrics: started.metrics });
  } catch (error) {
    process.stderr.write(`${role}: ${describe(error)}\n`);
    process.send?.({ type: 'failed', message: describe(error) });
    await stop('it could not start', 1);
  }
}
