import { Redis } from 'ioredis';
import { keysOf } from '../../shared/resources/keys.ts';
import type { World } from './world.ts';

export interface EpochWatch {
  /** Every epoch the cache was given since, in order. */
  readonly given: readonly string[];
  close(): void;
}

/** Listens to the cache Redis itself: two epochs within a millisecond are two all the same. */
export async function watchEpochs(world: World): Promise<EpochWatch> {
  const { control } = keysOf(world.namespace);
  const redis = new Redis(world.cacheUrl);
  const monitor = await redis.monitor();
  const given: string[] = [];
  monitor.on('monitor', (_time: string, [command, key, ...fields]: string[]) => {
    const at = fields.indexOf('epoch');
    if (command?.toUpperCase() === 'HSET' && key === control && at >= 0) given.push(fields[at + 1]!);
  });
  return {
    given,
    close() {
      monitor.disconnect();
      redis.disconnect();
    },
  };
}
