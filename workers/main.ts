import { readProcessSettings } from '../shared/config.ts';
import { runProcess } from '../shared/run-process.ts';
import { openWorker } from './context.ts';

await runProcess('worker', async (id, lifecycle) => {
  const settings = readProcessSettings(process.env);
  const worker = await openWorker(settings, id, process.env, lifecycle);
  worker.observer.emit({
    type: 'process.started',
    role: 'worker',
    detail: `${settings.feed} feed, pid ${process.pid}`,
  });
  return worker;
});
