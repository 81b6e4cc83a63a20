import { describe, expect, test } from '@jest/globals';
import type { FillResult } from '../../shared/fill/lease-and-fill.ts';
import {
  backOffMs,
  type JobName,
  type JobOrder,
  jobKinds,
  orderJob,
  readPayload,
} from '../../shared/queue/jobs.ts';
import { Outbox } from '../../shared/queue/outbox.ts';
import type { JobRun } from '../../shared/queue/queues.ts';
import type { Catalog, Resource, TableShape } from '../../shared/resources/resource.ts';
import { afterSettled } from '../../workers/jobs/after-settled.ts';
import { rewarm } from '../../workers/jobs/rewarm.ts';
import { eventually } from '../support/eventually.ts';
import { recordingObserver } from '../support/recording-observer.ts';

const table = {
  qualified: 'users',
  schema: 'public',
  name: 'users',
  key: [{ name: 'id', type: 'integer' }],
} as unknown as TableShape;
const resource = (name: string, rewarmPolicy: 'hot' | 'never'): Resource =>
  ({ name, table, rewarm: rewarmPolicy, warmUpTop: 10 }) as unknown as Resource;
const resources = new Map([
  ['users', resource('users', 'hot')],
  ['cards', resource('cards', 'hot')],
  ['logins', resource('logins', 'never')],
]);
const catalog: Catalog = {
  resources,
  tables: new Map([['users', table]]),
  notes: [],
  of: name => (name === 'users' ? [...resources.values()] : []),
};

describe('an order for a job', () => {
  const payloads: { [N in JobName]: Parameters<typeof orderJob<N>>[1] } = {
    rewarm: { resource: 'users', tag: 'users:42', xid: '771' },
    cleanup: { tag: 'billing.invoices:3,%3A7', xid: '772' },
    sweep: {},
    'warm-up': { resource: 'users', start: 'b2' },
  };

  test.each(Object.entries(payloads))('of %s has an id that the queue takes, and bounds', (name, payload) => {
    const { opts, data, queue } = orderJob(name as JobName, payload);
    expect(opts.jobId).toMatch(/^[^:]*[^:\d][^:]*$/);
    expect(opts.deduplication.keepLastIfActive).toBe(true);
    expect(opts.attempts).toBeGreaterThan(1);
    expect(opts.removeOnComplete.count).toBeGreaterThan(0);
    expect(opts.removeOnFail.count).toBeGreaterThan(0);
    expect(queue).toBe(jobKinds[name as JobName].queue);
    expect(readPayload(name as JobName, JSON.parse(JSON.stringify(data)))).toEqual(payload);
  });

  test('for the same row and another transaction has the same subject and another id', () => {
    const [one, two] = ['771', '772'].map(xid =>
      orderJob('rewarm', { resource: 'users', tag: 'users:42', xid }),
    );
    expect(one!.opts.deduplication.id).toBe(two!.opts.deduplication.id);
    expect(one!.opts.jobId).not.toBe(two!.opts.jobId);
  });

  test('for one row of two resources is two jobs', () => {
    const [one, two] = ['users', 'cards'].map(name =>
      orderJob('rewarm', { resource: name, tag: 'users:42', xid: '771' }),
    );
    expect(one!.opts.deduplication.id).not.toBe(two!.opts.deduplication.id);
  });

  test.each([
    ['a body', { resource: 'users', tag: 'users:42', xid: '771', row: { id: 42 } }],
    ['no table', { resource: 'users', tag: '42', xid: '771' }],
    ['an xid that is none', { resource: 'users', tag: 'users:42', xid: '-1' }],
    ['nothing', null],
  ])('is not read back when it carries %s', (_what, data) => {
    expect(() => readPayload('rewarm', data)).toThrow(
      expect.objectContaining({ code: 'bad-payload', retryable: false }),
    );
  });

  test('waits longer after each attempt, up to a bound, never all at the same time', () => {
    expect([1, 2, 3, 4].map(made => backOffMs('rewarm', made, 1))).toEqual([50, 100, 200, 400]);
    expect(backOffMs('rewarm', 1, 0)).toBe(25);
    for (const name of Object.keys(jobKinds) as JobName[]) {
      expect(backOffMs(name, 1_000, 1)).toBe(jobKinds[name].backOff.longestMs);
    }
  });
});

describe('the outbox', () => {
  const closeWithinMs = 50;
  const row = (id: number, xid = '1') => ({ resource: 'users', tag: `users:${id}`, xid });

  /** Queues that take or refuse orders as told. */
  function recordingQueues() {
    const taken: JobOrder[] = [];
    const queues = {
      taken,
      refusing: false,
      calls: 0,
      async add(orders: readonly JobOrder[]) {
        queues.calls += 1;
        if (queues.refusing) throw new Error('connection is closed');
        taken.push(...orders);
      },
    };
    return queues;
  }

  test('sends many orders in few batches, and reports each', async () => {
    const [queues, observer] = [recordingQueues(), recordingObserver()];
    const outbox = new Outbox(queues, observer, { batch: 40 });
    for (let id = 0; id < 100; id++) outbox.offer('rewarm', row(id));
    await eventually(
      'all sent',
      () => queues.taken.length,
      sent => sent === 100,
    );
    expect(queues.calls).toBe(3);
    expect(observer.of('job.added')).toHaveLength(100);
    await outbox.close();
  });

  test('keeps one order for one row, with the newest payload', async () => {
    const queues = recordingQueues();
    const outbox = new Outbox(queues, recordingObserver());
    for (const xid of ['1', '2', '3']) outbox.offer('rewarm', row(7, xid));
    await eventually(
      'sent',
      () => queues.taken,
      taken => taken.length > 0,
    );
    expect(queues.taken.map(order => order.data)).toEqual([row(7, '3')]);
    await outbox.close();
  });

  test('sends again what was newly offered while its older order was under way', async () => {
    const queues = recordingQueues();
    const gate = Promise.withResolvers<void>();
    const add = async (orders: readonly JobOrder[]): Promise<void> => {
      await queues.add(orders);
      if (queues.calls === 1) await gate.promise;
    };
    const outbox = new Outbox({ add }, recordingObserver());
    outbox.offer('rewarm', row(7, '1'));
    await eventually(
      'under way',
      () => queues.calls,
      calls => calls === 1,
    );
    outbox.offer('rewarm', row(7, '2'));
    gate.resolve();
    await eventually(
      'sent again',
      () => queues.taken.map(order => order.data),
      data => data.length === 2,
    );
    expect(queues.taken[1]!.data).toEqual(row(7, '2'));
    await outbox.close();
  });

  test('holds no more than its capacity while the queues refuse, counts the rest, and goes on by itself', async () => {
    const [queues, observer] = [recordingQueues(), recordingObserver()];
    queues.refusing = true;
    const outbox = new Outbox(queues, observer, { capacity: 10, retryFirstMs: 5, retryLongestMs: 10 });
    for (let id = 0; id < 25; id++) outbox.offer('rewarm', row(id));
    outbox.offer('rewarm', row(3, '9'));
    expect(outbox.size).toBe(10);
    const drops = await eventually(
      'drops told',
      () => observer.of('job.dropped'),
      seen => seen.length > 0,
    );
    expect(drops).toEqual([{ type: 'job.dropped', queue: 'rewarm', count: 15, why: 'connection is closed' }]);
    queues.refusing = false;
    await eventually(
      'sent',
      () => queues.taken.length,
      sent => sent === 10,
    );
    expect(queues.taken.find(order => order.opts.deduplication.id.endsWith(':3'))!.data).toEqual(row(3, '9'));
    await outbox.close();
  });

  test('sends what is left when it closes, and counts what it cannot', async () => {
    const [queues, observer] = [recordingQueues(), recordingObserver()];
    const outbox = new Outbox(queues, observer, { lingerMs: 60_000, closeWithinMs });
    outbox.offer('rewarm', row(1));
    await outbox.close();
    expect(queues.taken).toHaveLength(1);

    queues.refusing = true;
    const other = new Outbox(queues, observer, { lingerMs: 60_000, closeWithinMs });
    other.offer('rewarm', row(1));
    other.offer('cleanup', { tag: 'users:1', xid: '4' });
    await other.close();
    expect(observer.of('job.dropped').map(({ queue, count }) => [queue, count])).toEqual([
      ['rewarm', 1],
      ['cleanup', 1],
    ]);
  });
});

describe('after a settled change', () => {
  const settled = { table: 'users', tag: 'users:42', key: ['42'], xid: 771n };
  const ordersFor = (gone: boolean, hot: readonly string[]): unknown[] => {
    const orders: unknown[] = [];
    const popularity = {
      isHot: (name: string) => hot.includes(name),
      top: never,
      remembered: never,
      forget: never,
    };
    afterSettled(
      { offer: (name, payload) => void orders.push([name, payload]) },
      { catalog: () => catalog, popularity },
    )({
      ...settled,
      gone,
    });
    return orders;
  };
  const never = (): never => {
    throw new Error('not to be asked here');
  };

  test('a hot row is rewarmed for each resource in which it is hot and that wants it', () => {
    expect(ordersFor(false, ['users', 'logins'])).toEqual([
      ['rewarm', { resource: 'users', tag: 'users:42', xid: '771' }],
    ]);
    expect(ordersFor(false, ['users', 'cards'])).toHaveLength(2);
  });

  test('a row that nobody reads is left alone', () => {
    expect(ordersFor(false, [])).toEqual([]);
  });

  test('a deleted row is cleaned up, hot or not', () => {
    const order = ['cleanup', { tag: 'users:42', xid: '771' }];
    expect(ordersFor(true, [])).toEqual([order]);
    expect(ordersFor(true, ['users'])).toEqual([order]);
  });
});

describe('rewarm', () => {
  const run = (isLast: boolean): JobRun => ({
    attempt: 1,
    isLast,
    signal: new AbortController().signal,
    progress: undefined,
    saveProgress: async () => {},
  });
  const refused = (
    reason: 'fenced' | 'lease_lost' | 'older_epoch' | 'not_seen' | 'not_cacheable',
  ): FillResult => ({
    status: 'refused',
    reason,
  });
  const asked: unknown[] = [];
  const rewarmed = (result: FillResult, isLast = false): Promise<string> => {
    const filler = {
      async fill(...args: unknown[]) {
        asked.push(args);
        return result;
      },
    };
    return rewarm({ filler, catalog: () => catalog })(
      { resource: 'users', tag: 'users:42', xid: '771' },
      run(isLast),
    );
  };

  test('fills the row of its tag with a snapshot that has to see the change', async () => {
    await rewarmed({ status: 'stored', found: true });
    expect(asked.at(-1)).toEqual([resources.get('users'), ['42'], { mustSee: 771n }]);
  });

  test.each<[string, FillResult]>([
    ['stored', { status: 'stored', found: true }],
    ['stored-absence', { status: 'stored', found: false }],
    ['present', { status: 'present' }],
    ['not_cacheable', refused('not_cacheable')],
  ])('is done when the fill says %s', async (outcome, result) => {
    expect(await rewarmed(result)).toBe(outcome);
  });

  test.each<[string, FillResult]>([
    ['busy', { status: 'busy' }],
    ['fenced', refused('fenced')],
    ['lease_lost', refused('lease_lost')],
    ['older_epoch', refused('older_epoch')],
    ['not_seen', refused('not_seen')],
  ])('comes back later when the fill says %s', async (_why, result) => {
    await expect(rewarmed(result)).rejects.toThrow(
      expect.objectContaining({ code: 'not-rewarmed', retryable: true }),
    );
  });

  test('gives up quietly where somebody else is at it, and dies where the change stays unseen', async () => {
    expect(await rewarmed({ status: 'busy' }, true)).toBe('given-up-busy');
    expect(await rewarmed(refused('fenced'), true)).toBe('given-up-fenced');
    await expect(rewarmed(refused('not_seen'), true)).rejects.toThrow(/not_seen/);
  });

  test('has nothing to do for a resource that is gone', async () => {
    const filler = { fill: () => Promise.reject(new Error('not to be asked')) };
    const handler = rewarm({ filler, catalog: () => catalog });
    expect(await handler({ resource: 'gone', tag: 'users:42', xid: '1' }, run(false))).toBe(
      'no-such-resource',
    );
  });
});
