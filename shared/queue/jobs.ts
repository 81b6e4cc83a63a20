import { z } from 'zod';
import { FreshetError } from '../errors.ts';

/**
 * Every job that may be asked for: its queue, what it carries, what makes two of them the same, and its bounds.
 *
 * A payload is a pointer, never the data: of two orders for one thing the queue keeps the older payload while
 * the job waits, so a job looks up what is true when it runs. All jobs may run twice, late, or not at all.
 */

/** Names are also Redis key parts and paths of the queues' board. */
export const queueNames = ['rewarm', 'cleanup', 'warm-up'] as const;
export type QueueName = (typeof queueNames)[number];

interface JobKind<P> {
  readonly queue: QueueName;
  readonly payload: z.ZodType<P>;
  /** Two orders with the same subject are one job while it waits, and one more run while it is active. */
  readonly subject: (payload: P) => string;
  /** Tells apart the orders for one subject, so that a repeated order is not run twice. */
  readonly order: (payload: P) => string;
  readonly attempts: number;
  readonly backOff: { readonly firstMs: number; readonly longestMs: number };
}

const kind = <P>(of: JobKind<P>): JobKind<P> => of;

const tag = z.string().regex(/^[^:]+:/, 'expected a row tag like users:42');
const xid = z.string().regex(/^\d{1,20}$/, 'expected a transaction id in decimal');
const resource = z.string().min(1);

export const jobKinds = {
  /** A hot row changed: put its new representation into the cache before somebody asks. */
  rewarm: kind({
    queue: 'rewarm',
    payload: z.strictObject({ resource, tag, xid }),
    subject: row => `${row.resource}~${row.tag}`,
    order: row => row.xid,
    attempts: 10,
    backOff: { firstMs: 50, longestMs: 5_000 },
  }),
  /** A row was deleted: free what is kept about it. */
  cleanup: kind({
    queue: 'cleanup',
    payload: z.strictObject({ tag, xid }),
    subject: row => row.tag,
    order: row => row.xid,
    attempts: 12,
    backOff: { firstMs: 200, longestMs: 30_000 },
  }),
  /** Frees what lost or late cleanups left behind; ordered by the clock, once for the whole fleet. */
  sweep: kind({
    queue: 'cleanup',
    payload: z.strictObject({}),
    subject: () => 'sweep',
    order: () => 'sweep',
    attempts: 3,
    backOff: { firstMs: 1_000, longestMs: 30_000 },
  }),
  /** A worker started: fill the cache with the rows of a resource that were read most. */
  'warm-up': kind({
    queue: 'warm-up',
    payload: z.strictObject({ resource, start: z.string().min(1) }),
    subject: order => order.resource,
    order: order => order.start,
    attempts: 20,
    backOff: { firstMs: 500, longestMs: 30_000 },
  }),
} as const;

export type JobName = keyof typeof jobKinds;
export type Payload<N extends JobName> = z.infer<(typeof jobKinds)[N]['payload']>;

/** Finished jobs stay for a look, dead ones for as long as it takes somebody to come and look. */
const keepDone = { count: 1_000, age: 60 * 60 };
const keepDead = { count: 5_000, age: 7 * 24 * 60 * 60 };

/** A job as a queue takes it. */
export interface JobOrder {
  readonly queue: QueueName;
  readonly name: JobName;
  readonly data: unknown;
  readonly opts: JobOptions;
}

export type JobOptions = ReturnType<typeof boundsOf> & {
  readonly jobId: string;
  readonly deduplication: { readonly id: string; readonly keepLastIfActive: true };
};

/** What every job of a kind shares, scheduled ones too. Ages in seconds, delays in milliseconds. */
export const boundsOf = (name: JobName) => ({
  attempts: jobKinds[name].attempts,
  backoff: { type: 'bounded', delay: jobKinds[name].backOff.firstMs },
  removeOnComplete: keepDone,
  removeOnFail: keepDead,
});

/** The name under which equal orders meet. */
export const subjectOf = <N extends JobName>(name: N, payload: Payload<N>): string =>
  (jobKinds[name] as unknown as JobKind<Payload<N>>).subject(payload);

/**
 * The order for a job. Its id names subject and order, so that a change that is delivered again, after a crash
 * say, does not run again what it has already caused. Ids may not contain `:` (nor be all digits): `|` cannot
 * occur in a tag, which is percent-encoded.
 */
export function orderJob<N extends JobName>(name: N, payload: Payload<N>): JobOrder {
  const { queue, order } = jobKinds[name] as unknown as JobKind<Payload<N>>;
  const id = subjectOf(name, payload);
  return {
    queue,
    name,
    data: payload,
    opts: {
      ...boundsOf(name),
      jobId: `${name}~${id}@${order(payload)}`.replaceAll(':', '|'),
      deduplication: { id, keepLastIfActive: true },
    },
  };
}

/** Reads a payload back. @throws FreshetError `bad-payload`: somebody else wrote it, or another version did. */
export function readPayload<N extends JobName>(name: N, data: unknown): Payload<N> {
  const read = jobKinds[name].payload.safeParse(data);
  if (read.success) return read.data as Payload<N>;
  throw new FreshetError({
    code: 'bad-payload',
    message: `the payload of a ${name} job is not one: ${z.prettifyError(read.error).replaceAll('\n', ' ')}`,
    hint: 'It was put there by another program or version; remove the job.',
  });
}

export const isJobName = (name: string): name is JobName => Object.hasOwn(jobKinds, name);

/** Milliseconds before attempt `made + 1`: doubled each time up to the bound, the second half of it by chance. */
export function backOffMs(name: JobName, made: number, chance: number = Math.random()): number {
  const { firstMs, longestMs } = jobKinds[name].backOff;
  const delayMs = Math.min(firstMs * 2 ** Math.min(made - 1, 30), longestMs);
  return Math.round(delayMs * (0.5 + chance / 2));
}
