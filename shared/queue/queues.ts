import { type Job, Queue, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import { describe, FreshetError } from '../errors.ts';
import type { Observer, QueueFigures } from '../observe.ts';
import { jobsPrefix } from '../resources/keys.ts';
import { QueueConnection, refuseEvicting } from './connection.ts';
import {
  backOffMs,
  boundsOf,
  isJobName,
  type JobName,
  type JobOrder,
  jobKinds,
  type Payload,
  type QueueName,
  queueNames,
  readPayload,
} from './jobs.ts';
import { within } from './within.ts';

/** How long a start waits for the queue Redis before it goes on without. */
const reachableWithinMs = 1_500;
/** A worker that dies leaves its jobs locked for this long, and they are found within as long again. */
const lockMs = 15_000;
const stalledCheckMs = 10_000;
/** A job whose worker died this often in its midst is dead: it may well be the reason. */
const stallsAllowed = 2;
/** Pause after an unexpected error of the queue Redis. */
const runRetryMs = 1_000;
/** Of closing: for a reconnecting connection to give up, for jobs under way to finish, for connections to end. */
const settleWithinMs = 1_000;
const closeWithinMs = 2_000;
const endWithinMs = 500;

const jobStates = ['waiting', 'active', 'delayed', 'failed', 'completed'] as const;

export interface QueuesOptions {
  readonly url: string;
  /** Two instances with different namespaces share a Redis without meeting. */
  readonly namespace: string;
  readonly observer: Observer;
}

/** What a handler knows of its own run. */
export interface JobRun {
  /** From 1. */
  readonly attempt: number;
  /** No attempt follows: what is thrown now makes the job a dead one. */
  readonly isLast: boolean;
  /** Aborted when the process stops: a long job gives way, and is taken up again elsewhere. */
  readonly signal: AbortSignal;
  /** What an earlier run of this job saved last; undefined on the first. */
  readonly progress: unknown;
  saveProgress(progress: object): Promise<void>;
}

/** Does the work and says in one word how it went. Throwing means: later again, unless the error is not retryable. */
export type Handler<N extends JobName> = (payload: Payload<N>, run: JobRun) => Promise<string>;
export type Handlers = { readonly [N in JobName]: Handler<N> };

/** Opened queues of one process: the way in, and, where `work` is called, the way out. */
export class Queues {
  readonly #connection: QueueConnection;
  readonly #options: QueuesOptions;
  readonly #queues: ReadonlyMap<QueueName, Queue>;
  #consumer: QueueConnection | null = null;
  #workers: Worker[] = [];

  constructor(connection: QueueConnection, options: QueuesOptions) {
    this.#connection = connection;
    this.#options = options;
    const open = (name: QueueName): Queue => {
      const queue = new Queue(name, { connection: connection.redis, prefix: jobsPrefix(options.namespace) });
      // The connection reports its own losses; a failing call tells its caller.
      queue.on('error', () => {});
      return queue;
    };
    this.#queues = new Map(queueNames.map(name => [name, open(name)]));
  }

  get isReady(): boolean {
    return this.#connection.isReady;
  }

  /** For the board, which shows them. */
  get all(): readonly Queue[] {
    return [...this.#queues.values()];
  }

  /** Adds jobs in one round trip a queue. Repeating it is harmless. @throws when Redis is away or refuses. */
  async add(orders: readonly JobOrder[]): Promise<void> {
    if (!this.isReady) {
      throw new FreshetError({
        code: 'queue-redis-unavailable',
        message: 'the queue Redis is away',
        retryable: true,
      });
    }
    const byQueue = Map.groupBy(orders, order => order.queue);
    await Promise.all([...byQueue].map(([name, jobs]) => this.#queues.get(name)!.addBulk([...jobs])));
  }

  /** Has a job run every so often, once in the whole fleet, however many processes ask for it. */
  async schedule<N extends JobName>(name: N, everyMs: number, payload: Payload<N>): Promise<void> {
    const queue = this.#queues.get(jobKinds[name].queue)!;
    await queue.upsertJobScheduler(name, { every: everyMs }, { name, data: payload, opts: boundsOf(name) });
  }

  /** Calls back whenever Redis is there (again), at once if it is. */
  onReady(call: () => void): void {
    this.#connection.redis.on('ready', call);
    if (this.isReady) call();
  }

  /**
   * Starts working on all queues. Call it at the top of a process's start: a context (a span, a request) that is
   * active here would be taken for the parent of everything the workers ever do.
   */
  work(handlers: Handlers, concurrency: Readonly<Record<QueueName, number>>): void {
    const { url, namespace, observer } = this.#options;
    this.#consumer = new QueueConnection(url, 'consumer', null);
    for (const name of queueNames) {
      // Three parameters: BullMQ hands a signal only to a processor that declares it.
      const worker = new Worker(
        name,
        (job, token, signal) => runJob(job, token!, signal!, handlers, observer),
        {
          connection: this.#consumer.redis,
          prefix: jobsPrefix(namespace),
          concurrency: concurrency[name],
          lockDuration: lockMs,
          stalledInterval: stalledCheckMs,
          maxStalledCount: stallsAllowed,
          runRetryDelay: runRetryMs,
          settings: { backoffStrategy: (made, _type, _error, job) => backOffMs(job!.name as JobName, made) },
        },
      );
      worker.on('error', () => {});
      worker.on('failed', (job, error) => {
        // Its workers died too often in its midst: it fails without being handed to a handler again.
        if (job?.deferredFailure) reportFailure(job, error, true, observer);
      });
      this.#workers.push(worker);
    }
  }

  /** Jobs by state, and how long the oldest waiting one has waited; two round trips a queue. */
  async figures(): Promise<QueueFigures[]> {
    if (!this.isReady) return [];
    return Promise.all(
      [...this.#queues].map(async ([queue, open]) => {
        const [jobs, [oldest]] = await Promise.all([
          open.getJobCounts(...jobStates),
          // The next to be taken.
          open.getWaiting(0, 0),
        ]);
        const oldestAgeSeconds = oldest ? Math.max(0, Date.now() - oldest.timestamp) / 1_000 : null;
        return { queue, jobs, oldestAgeSeconds };
      }),
    );
  }

  /** Lets jobs under way finish or give way, within a bound; what is cut off is taken up by another worker. */
  async close(): Promise<void> {
    // Pausing first: it ends the stalled check, which closing would reach only after everything else.
    await Promise.all(this.#workers.map(worker => worker.pause(true)));
    for (const worker of this.#workers) worker.cancelAllJobs('the worker is stopping');
    const settled = Promise.all([this.#connection.stopReconnecting(), this.#consumer?.stopReconnecting()]);
    await within(settleWithinMs, settled);
    const closed = Promise.allSettled(this.#workers.map(worker => worker.close()));
    if (!(await within(closeWithinMs, closed))) {
      this.#consumer?.disconnect();
      await within(endWithinMs, closed);
    }
    await within(endWithinMs, Promise.allSettled([...this.#queues.values()].map(queue => queue.close())));
    this.#consumer?.disconnect();
    this.#connection.disconnect();
  }
}

/**
 * Opens the queues.
 * @throws FreshetError `queue-redis-evicts`. A Redis that is not there is waited for in the background instead:
 *   a worker that is restarted meanwhile must follow the database all the same.
 */
export async function openQueues(options: QueuesOptions): Promise<Queues> {
  const connection = new QueueConnection(options.url, 'producer', options.observer);
  try {
    if (await connection.isReachable(reachableWithinMs)) await refuseEvicting(connection.redis);
    else warnWhenEvicting(connection, options.observer);
  } catch (error) {
    if (!(error instanceof FreshetError && error.retryable)) {
      connection.disconnect();
      throw error;
    }
    warnWhenEvicting(connection, options.observer);
  }
  return new Queues(connection, options);
}

/** A server that comes late can no longer be refused, only complained about. */
function warnWhenEvicting(connection: QueueConnection, observer: Observer): void {
  connection.redis.once('ready', () => {
    refuseEvicting(connection.redis).catch(error =>
      observer.emit({ type: 'note', level: 'error', text: describe(error), error }),
    );
  });
}

async function runJob(
  job: Job,
  token: string,
  signal: AbortSignal,
  handlers: Handlers,
  observer: Observer,
): Promise<string> {
  const attempt = job.attemptsMade + 1;
  const isLast = attempt >= (job.opts.attempts ?? 1);
  const startedMs = performance.now();
  const waitMs = Math.max(0, (job.processedOn ?? job.timestamp) - job.timestamp - (job.delay ?? 0));
  const run: JobRun = {
    attempt,
    isLast,
    signal,
    progress: job.progress === 0 ? undefined : job.progress,
    saveProgress: progress => job.updateProgress(progress),
  };
  try {
    const outcome = await observer.trace(
      `job ${job.queueName}`,
      { 'job.name': job.name, 'job.attempt': attempt },
      () => handle(job, run, handlers),
    );
    observer.emit({
      type: 'job.done',
      queue: job.queueName,
      waitMs,
      durationMs: performance.now() - startedMs,
      outcome,
    });
    return outcome;
  } catch (error) {
    if (signal.aborted) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    const isFinal = error instanceof FreshetError && !error.retryable;
    reportFailure(job, error, isFinal || isLast, observer);
    if (isFinal) throw new UnrecoverableError(describe(error));
    throw error;
  }
}

function handle(job: Job, run: JobRun, handlers: Handlers): Promise<string> {
  if (!isJobName(job.name)) {
    throw new FreshetError({
      code: 'unknown-job',
      message: `no job is called "${job.name}"; known are ${Object.keys(jobKinds).join(', ')}`,
      hint: 'Another version of Freshet put it there; remove the job.',
    });
  }
  const handler = handlers[job.name] as Handler<JobName>;
  return handler(readPayload(job.name, job.data), run);
}

function reportFailure(job: Job, error: unknown, dead: boolean, observer: Observer): void {
  const { queueName: queue, id = '?' } = job;
  observer.emit({ type: 'job.failed', queue, id, attempt: job.attemptsMade + 1, dead, error });
}
