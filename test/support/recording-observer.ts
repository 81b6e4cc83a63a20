import type { Observation, Observer } from '../../shared/observe.ts';
import { silentObserver } from '../../shared/observe.ts';

export interface RecordingObserver extends Observer {
  readonly seen: readonly Observation[];
  of<T extends Observation['type']>(type: T): Extract<Observation, { type: T }>[];
}

/** Keeps everything that was emitted, in order. */
export function recordingObserver(): RecordingObserver {
  const seen: Observation[] = [];
  return {
    ...silentObserver,
    seen,
    emit: observation => void seen.push(observation),
    of: <T extends Observation['type']>(type: T) =>
      seen.filter((one): one is Extract<Observation, { type: T }> => one.type === type),
  };
}
