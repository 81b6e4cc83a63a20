import { randomUUID } from 'node:crypto';
import { Outbox } from '../../shared/queue/outbox.ts';
import type { Queues } from '../../shared/queue/queues.ts';
import type { AfterSettled } from '../settled.ts';
import { afterSettled } from './after-settled.ts';
import { concurrency, handlersOf } from './index.ts';
import type { JobNeeds } from './needs.ts';
import { sweepEveryMs } from './sweep.ts';

export interface Jobs {
  /** For the apply loop: orders what may follow a settled change. */
  readonly afterSettled: AfterSettled;
  /** Takes no more orders, lets jobs under way finish or give way, closes the queues. Bounded. */
  close(): Promise<void>;
}

export interface StartOptions extends JobNeeds {
  readonly queues: Queues;
}

/** Starts working on jobs, and asks for a warm-up. Call it at the top of the process's start. */
export function startJobs({ queues, ...needs }: StartOptions): Jobs {
  const outbox = new Outbox(queues, needs.observer);
  queues.work(handlersOf(needs), concurrency);
  queues.onReady(() => {
    queues.schedule('sweep', sweepEveryMs, {}).catch(error => {
      needs.observer.emit({ type: 'note', level: 'warn', text: 'sweeps could not be scheduled', error });
    });
  });
  const start = randomUUID();
  for (const { name, warmUpTop } of needs.catalog().resources.values()) {
    if (warmUpTop > 0) outbox.offer('warm-up', { resource: name, start });
  }
  return {
    afterSettled: afterSettled(outbox, needs),
    async close() {
      await outbox.close();
      await queues.close();
    },
  };
}
