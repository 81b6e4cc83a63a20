import { type DestinationStream, type Level, type Logger, pino } from 'pino';
import type { GapCause, Observation } from '../shared/observe.ts';
import type { LogLevel } from './settings.ts';

type Type = Observation['type'];
type LevelOf<T extends Type> = (observation: Extract<Observation, { type: T }>) => Level;

/** null: never logged. Every type of observation has its line: the compiler sees to it. */
const LEVELS: { readonly [T in Type]: Level | LevelOf<T> | null } = {
  'read.served': null,
  'origin.loaded': null,
  'fill.refused': 'debug',
  'mode.changed': mode => (mode.to === 'FRESH' ? 'info' : 'warn'),
  'write.committed': 'debug',
  'own-fence.failed': 'warn',
  'redis.connected': 'info',
  'redis.lost': 'warn',
  'postgres.lost': 'warn',
  'feed.connected': 'info',
  'feed.lost': 'warn',
  'feed.standby': 'info',
  'feed.position': 'trace',
  'connector.state': ({ state }) => (state === 'FAILED' ? 'error' : 'info'),
  'slot.checked': ({ status }) => (status === 'unreserved' || status === 'lost' ? 'error' : 'trace'),
  'change.applied': 'debug',
  'change.unreadable': 'error',
  'beat.sent': 'trace',
  'beat.echoed': 'trace',
  'gap.opened': levelOfGap,
  'gap.waiting': 'warn',
  'gap.closed': levelOfGap,
  'generation.raised': 'info',
  'job.added': 'trace',
  'job.dropped': 'warn',
  'job.done': 'debug',
  'job.failed': job => (job.dead ? 'error' : 'warn'),
  'warm-up.progress': 'debug',
  'cleanup.swept': 'debug',
  'process.started': 'info',
  'process.stopping': 'info',
  'process.stopped': 'info',
  note: note => note.level,
};

/** The first start has nothing to lose; every other gap costs the whole cache. */
function levelOfGap({ cause }: { cause: GapCause }): Level {
  return cause === 'first-start' ? 'info' : 'warn';
}

/** Lines that wait for a reader of stdout that is slower than we are; what is more is dropped and counted. */
const BUFFER_BYTES = 4 * 1024 * 1024;

export interface Logs {
  log(observation: Observation): void;
  /** Writes what waits; resolves early when nobody takes it within `limitMs`. */
  flush(limitMs: number): Promise<void>;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** On every line: which process speaks. */
  readonly base: Readonly<Record<string, string>>;
  /** Added to a line that is written inside a span. */
  readonly activeIds: () => object | undefined;
  readonly onDropped: () => void;
  /** stdout unless given. */
  readonly destination?: DestinationStream;
}

/** JSON lines: level, time, base, `event` (the observation's type), its facts, `err`, and the ids of the span. */
export function createLogs(options: LogOptions): Logs {
  // Not synchronous: a reader of stdout that stands still would stand the process still. pino writes the rest
  // when the process exits.
  const stdout = options.destination
    ? undefined
    : pino.destination({ dest: 1, sync: false, maxLength: BUFFER_BYTES });
  stdout?.on('drop', options.onDropped);
  stdout?.on('error', options.onDropped);
  const logger = pino(
    {
      level: options.level,
      base: { ...options.base },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      mixin: () => options.activeIds() ?? {},
    },
    options.destination ?? stdout!,
  );
  return {
    log: observation => logObservation(logger, observation),
    flush: limitMs =>
      new Promise(resolve => {
        if (!stdout) return resolve();
        const timer = setTimeout(resolve, limitMs);
        stdout.flush(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

function logObservation(logger: Logger, observation: Observation): void {
  const level = levelOf(observation);
  if (level === null || !logger.isLevelEnabled(level)) return;
  const [facts, text] = lineOf(observation);
  logger[level](facts, text);
}

function lineOf(observation: Observation): [facts: object, text: string] {
  if (observation.type === 'note') return [errorAs(observation.error), observation.text];
  const { type, ...facts } = observation;
  const text = type.replaceAll(/[.-]/g, ' ');
  if (observation.type === 'gap.waiting') {
    // A blocker's query is somebody's SQL with somebody's values in it: `status` shows it, logs do not keep it.
    const blockers = observation.blockers.map(({ query: _query, ...blocker }) => blocker);
    return [{ event: type, ...facts, blockers }, text];
  }
  const { error, ...rest } = facts as { error?: unknown };
  return [{ event: type, ...rest, ...errorAs(error) }, text];
}

function levelOf<T extends Type>(observation: Extract<Observation, { type: T }>): Level | null {
  const level = LEVELS[observation.type as T];
  return typeof level === 'function' ? level(observation) : level;
}

const errorAs = (error: unknown): object =>
  error === undefined ? {} : { err: error instanceof Error ? error : new Error(String(error)) };
