import { type ChainableCommander, Redis } from 'ioredis';
import { everyScript, type ScriptName, scripts } from '../../shared/cache/scripts.ts';

type Argument = string | number;

/** The decisions by themselves, on a real server: no store, no gate, no retries. */
export interface Scripts {
  readonly redis: Redis;
  run(name: ScriptName, key: string, ...args: Argument[]): Promise<unknown>;
  /** Adds a call to a pipeline. */
  stage(pipeline: ChainableCommander, name: ScriptName, key: string, ...args: Argument[]): void;
  close(): void;
}

export async function loadScripts(url: string): Promise<Scripts> {
  const redis = new Redis(url, { protocol: 2 });
  for (const { source } of everyScript) await redis.script('LOAD', source);
  return {
    redis,
    run: (name, key, ...args) => redis.evalsha(scripts[name].sha, 1, key, ...args),
    stage: (pipeline, name, key, ...args) => {
      pipeline.evalsha(scripts[name].sha, 1, key, ...args);
    },
    close: () => redis.disconnect(),
  };
}

/** What every command of a pipeline answered. @throws the first error among them. */
export async function answersOf(pipeline: ChainableCommander): Promise<unknown[]> {
  const results = (await pipeline.exec()) ?? [];
  return results.map(([error, answer]) => {
    if (error) throw error;
    return answer;
  });
}
