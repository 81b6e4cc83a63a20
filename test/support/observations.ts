import type { Observation } from '../../shared/observe.ts';

const at = 1_763_700_000_000;

/** One observation of every type, as the parts emit them: the compiler sees that none is missing. */
const SAMPLES: { readonly [T in Observation['type']]: Extract<Observation, { type: T }> } = {
  'read.served': {
    type: 'read.served',
    resource: 'users',
    result: 'hit',
    outcome: 'not_modified',
    durationMs: 0.4,
    savedBytes: 120,
  },
  'origin.loaded': { type: 'origin.loaded', resource: 'users', outcome: 'found', durationMs: 2 },
  'fill.refused': { type: 'fill.refused', resource: 'users', reason: 'fenced' },
  'mode.changed': { type: 'mode.changed', from: 'FRESH', to: 'GUARDED', why: 'no echo for 1,000 ms' },
  'write.committed': { type: 'write.committed', resource: 'users', op: 'update', xid: '771', durationMs: 3 },
  'own-fence.failed': { type: 'own-fence.failed', resource: 'users', error: new Error('timed out') },
  'redis.connected': { type: 'redis.connected', role: 'cache', runId: 'aa11' },
  'redis.lost': { type: 'redis.lost', role: 'cache', error: new Error('ECONNRESET') },
  'postgres.lost': { type: 'postgres.lost', use: 'pool', error: new Error('ECONNRESET') },
  'feed.connected': { type: 'feed.connected', feed: 'wal', position: '0/15' },
  'feed.lost': { type: 'feed.lost', feed: 'wal', error: new Error('ended'), retryInMs: 100 },
  'feed.standby': { type: 'feed.standby', feed: 'wal', holder: 12 },
  'feed.position': { type: 'feed.position', feed: 'wal', position: '0/16', newestCommitMs: at },
  'change.applied': {
    type: 'change.applied',
    feed: 'wal',
    table: 'users',
    op: 'update',
    outcome: 'applied',
    xid: '771',
    key: '42',
    times: { committedMs: at, receivedMs: at + 1, appliedMs: at + 3, settledMs: at + 7 },
  },
  'connector.state': { type: 'connector.state', connector: 'freshet', state: 'RUNNING', trace: null },
  'slot.checked': { type: 'slot.checked', slot: 'freshet_wal', status: 'reserved', retainedBytes: 1 },
  'change.unreadable': { type: 'change.unreadable', feed: 'wal', table: 'users', error: new Error('short') },
  'beat.sent': { type: 'beat.sent', number: 7 },
  'beat.echoed': { type: 'beat.echoed', number: 7, durationMs: 4 },
  'gap.opened': { type: 'gap.opened', cause: 'slot-missing', detail: 'freshet_wal is gone' },
  'gap.waiting': {
    type: 'gap.waiting',
    blockers: [
      { pid: 4, database: 'shop', ageSeconds: 61, query: "update users set email = 'ann@example.org'" },
    ],
    waitedMs: 500,
  },
  'gap.closed': { type: 'gap.closed', cause: 'slot-missing', durationMs: 700, epoch: '5' },
  'generation.raised': { type: 'generation.raised', table: 'users', cause: 'truncate' },
  'job.added': { type: 'job.added', queue: 'rewarm' },
  'job.dropped': { type: 'job.dropped', queue: 'rewarm', count: 3, why: 'buffer full' },
  'job.done': { type: 'job.done', queue: 'rewarm', waitMs: 5, durationMs: 9, outcome: 'stored' },
  'job.failed': {
    type: 'job.failed',
    queue: 'rewarm',
    id: 'a-1',
    attempt: 5,
    dead: true,
    error: new Error('no'),
  },
  'warm-up.progress': { type: 'warm-up.progress', resource: 'users', done: 10, total: 100 },
  'cleanup.swept': { type: 'cleanup.swept', freed: 3, looked: 100 },
  'process.started': { type: 'process.started', role: 'api', detail: 'listens' },
  'process.stopping': { type: 'process.stopping', role: 'api', why: 'SIGTERM' },
  'process.stopped': { type: 'process.stopped', role: 'api', durationMs: 40 },
  note: { type: 'note', level: 'warn', text: 'something to know' },
};

export const sampleOf = <T extends Observation['type']>(
  type: T,
  changes: Partial<Extract<Observation, { type: T }>> = {},
): Extract<Observation, { type: T }> => ({ ...SAMPLES[type], ...changes });

export const allSamples: readonly Observation[] = Object.values(SAMPLES);
