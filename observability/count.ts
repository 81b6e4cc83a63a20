import type { ChangeTimes, Gauges, Mode, Observation, ReadOutcome, ReadResult } from '../shared/observe.ts';
import type { Counter, Figures, Histogram } from './figures.ts';

const MODES: readonly Mode[] = ['FRESH', 'GUARDED', 'BYPASS'];

/** Results that cost no query of their own. */
const SAVES_QUERY: Readonly<Record<ReadResult, boolean>> = {
  hit: true,
  negative: true,
  collapsed: true,
  miss: false,
  guarded: false,
  bypass: false,
  error: false,
};

type Of<T extends Observation['type']> = Extract<Observation, { type: T }>;

/** Counts observations. The reader it returns is called for every read and every change: it looks up and adds. */
export function countObservations(
  figures: Figures,
  wallMs: () => number = Date.now,
): (observation: Observation) => void {
  const countRead = readCounter(figures);
  const countChange = changeCounter(figures);
  const originLoads = figures.family('freshet.cache.origin.loads');
  const originDuration = figures.family('freshet.cache.origin.duration.seconds');
  const fillRefused = figures.family('freshet.cache.fill.refused');
  const position = figures.family('freshet.feed.position.time.seconds');
  const retained = figures.family('freshet.slot.retained.bytes');
  const running = figures.family('freshet.connector.running');
  const beatSent = figures.family('freshet.beat.sent.time.seconds').of();
  const beatEchoed = figures.family('freshet.beat.echoed.time.seconds').of();
  const epochs = figures.family('freshet.epoch.bumps');
  const wait = figures.family('freshet.queue.wait.seconds');
  const stage = figures.family('freshet.change.stage.duration.seconds');
  const attempts = figures.family('freshet.queue.attempts');
  const dead = figures.family('freshet.queue.dead');
  const dropped = figures.family('freshet.queue.dropped');
  const events = figures.family('freshet.change.events');

  return observation => {
    switch (observation.type) {
      case 'read.served':
        return countRead(observation);
      case 'change.applied':
        return countChange(observation);
      case 'change.unreadable':
        return events.of(observation.table ?? '', '', 'unreadable').add();
      case 'origin.loaded':
        originLoads.of(observation.resource, observation.outcome).add();
        return originDuration
          .of(observation.resource, observation.outcome)
          .record(observation.durationMs / 1e3);
      case 'fill.refused':
        return fillRefused.of(observation.reason).add();
      case 'feed.position':
        return position.of(observation.feed).set(observation.newestCommitMs / 1e3);
      case 'slot.checked':
        return retained.of(observation.slot).set(observation.retainedBytes);
      case 'connector.state':
        return running.of(observation.connector).set(observation.state === 'RUNNING' ? 1 : 0);
      case 'beat.sent':
        return beatSent.set(wallMs() / 1e3);
      case 'beat.echoed':
        return beatEchoed.set(wallMs() / 1e3);
      case 'gap.closed':
        return epochs.of(observation.cause).add();
      case 'job.done':
        wait.of(observation.queue).record(observation.waitMs / 1e3);
        if (observation.queue === 'rewarm') {
          stage.of('queue').record(observation.waitMs / 1e3);
          stage.of('rewarm').record(observation.durationMs / 1e3);
        }
        return attempts.of(observation.queue, observation.outcome).add();
      case 'job.failed':
        if (observation.dead) dead.of(observation.queue).add();
        return attempts.of(observation.queue, 'failed').add();
      case 'job.dropped':
        return dropped.of(observation.queue).add(observation.count);
    }
  };
}

interface ReadSeries {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly savedBytes: Counter;
  readonly savedQueries: Counter | null;
}

/** The series of one (resource, result) are found together, once. */
function readCounter(figures: Figures): (read: Of<'read.served'>) => void {
  const requests = figures.family('freshet.cache.requests');
  const duration = figures.family('freshet.cache.request.duration.seconds');
  const conditional = figures.family('freshet.cache.conditional');
  const savedBytes = figures.family('freshet.cache.saved.bytes');
  const savedQueries = figures.family('freshet.cache.saved.queries');
  const outcomes: Partial<Record<ReadOutcome, Counter>> = {};
  const known = new Map<string, Partial<Record<ReadResult, ReadSeries>>>();

  function find(resource: string, result: ReadResult): ReadSeries {
    let byResult = known.get(resource);
    if (!byResult) {
      byResult = {};
      known.set(resource, byResult);
    }
    byResult[result] ??= {
      requests: requests.of(resource, result),
      duration: duration.of(resource, result),
      savedBytes: savedBytes.of(resource),
      savedQueries: SAVES_QUERY[result] ? savedQueries.of(resource) : null,
    };
    return byResult[result];
  }

  return read => {
    const series = find(read.resource, read.result);
    series.requests.add();
    series.duration.record(read.durationMs / 1e3);
    series.savedBytes.add(read.savedBytes);
    series.savedQueries?.add();
    outcomes[read.outcome] ??= conditional.of(read.outcome);
    outcomes[read.outcome]!.add();
  };
}

function changeCounter(figures: Figures): (change: Of<'change.applied'>) => void {
  const events = figures.family('freshet.change.events');
  const lag = figures.family('freshet.invalidation.lag.seconds');
  const skew = figures.family('freshet.clock.skew.seconds');
  const stage = figures.family('freshet.change.stage.duration.seconds');
  const capture = stage.of('capture');
  const apply = stage.of('apply');
  const settle = stage.of('settle');

  return change => {
    events.of(change.table, change.op, change.outcome).add();
    if (change.outcome === 'ignored') return;
    const { committedMs, receivedMs, appliedMs, settledMs }: ChangeTimes = change.times;
    lag.of(change.table, change.feed).record(secondsBetween(committedMs, appliedMs));
    skew.of(change.feed).set(secondsBetween(receivedMs, committedMs));
    capture.record(secondsBetween(committedMs, receivedMs));
    apply.record(secondsBetween(receivedMs, appliedMs));
    if (settledMs !== undefined) settle.record(secondsBetween(appliedMs, settledMs));
  };
}

/** Two clocks may disagree: a negative gap counts as none, and the disagreement is a gauge of its own. */
const secondsBetween = (fromMs: number, toMs: number): number => Math.max(0, toMs - fromMs) / 1e3;

/** Gauges that are asked for at collection; later calls replace what they name. */
export function askGauges(figures: Figures): (gauges: Gauges) => void {
  const asked: Gauges = {};
  const proofAge = figures.family('freshet.cache.proof.age.seconds').of();
  const mode = figures.family('freshet.cache.mode');
  const jobs = figures.family('freshet.queue.jobs');
  const oldest = figures.family('freshet.queue.oldest.age.seconds');

  figures.beforeCollect(() => proofAge.set(asked.proofAgeSeconds?.() ?? null));
  figures.beforeCollect(() => {
    const now = asked.mode?.();
    if (now) for (const each of MODES) mode.of(each).set(each === now ? 1 : 0);
  });
  figures.beforeCollect(async () => {
    // Forgotten first: a queue that does not answer is absent, not frozen.
    for (const { series } of [...jobs.all, ...oldest.all]) series.set(null);
    for (const { queue, oldestAgeSeconds, jobs: states } of (await asked.queues?.()) ?? []) {
      oldest.of(queue).set(oldestAgeSeconds);
      for (const [state, count] of Object.entries(states)) jobs.of(queue, state).set(count);
    }
  });
  return gauges => void Object.assign(asked, gauges);
}
