import type { QueueName } from '../../shared/queue/jobs.ts';
import type { Handlers } from '../../shared/queue/queues.ts';
import { cleanup } from './cleanup.ts';
import type { JobNeeds } from './needs.ts';
import { rewarm } from './rewarm.ts';
import { sweep } from './sweep.ts';
import { warmUp } from './warm-up.ts';

/**
 * Who does which job. What a job carries, when two are the same, its attempts and back-off stand in
 * shared/queue/jobs.ts. Every handler may run twice, or late, and comes to the same end.
 */
export const handlersOf = (needs: JobNeeds): Handlers => ({
  rewarm: rewarm(needs),
  cleanup: cleanup(needs),
  sweep: sweep(needs),
  'warm-up': warmUp(needs),
});

/** Jobs of a queue under way at once, in one process. */
export const concurrency: Readonly<Record<QueueName, number>> = {
  rewarm: 8,
  cleanup: 4,
  'warm-up': 1,
};
