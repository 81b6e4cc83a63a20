import { type Console, startConsole } from '../../api/admin/console.ts';
import { mergeMetrics } from '../../observability/merge-metrics.ts';
import type { ProcessSettings } from '../../shared/config.ts';
import { silentObserver } from '../../shared/observe.ts';
import { openProcessStatus } from '../process-status.ts';

/** The console of this run: it looks at the processes through the stores and through their own listeners. */
export async function openConsole(
  settings: ProcessSettings,
  namespace: string,
  apiMetrics: () => readonly string[],
): Promise<Console> {
  const status = openProcessStatus(settings.redisUrl, namespace);
  try {
    const console = await startConsole({
      host: settings.consoleHost,
      port: settings.consolePort,
      queueRedisUrl: settings.queueRedisUrl,
      namespace,
      operatorToken: settings.operatorToken,
      apiMetrics,
      mergeMetrics,
      status: () => status.read(),
      observer: silentObserver,
    });
    return {
      url: console.url,
      async close() {
        await console.close();
        await status.close();
      },
    };
  } catch (error) {
    await status.close();
    throw error;
  }
}
