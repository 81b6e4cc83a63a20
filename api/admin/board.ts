import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import type { RequestHandler } from 'express';
import type { Queues } from '../../shared/queue/queues.ts';

/** Bull Board over all queues, mounted at `basePath`; read-only means that it neither shows nor takes orders. */
export function boardOf(
  queues: Queues,
  basePath: string,
  { readOnly }: { readOnly: boolean },
): RequestHandler {
  const serverAdapter = new ExpressAdapter().setBasePath(basePath);
  createBullBoard({
    queues: queues.all.map(queue => new BullMQAdapter(queue, { readOnlyMode: readOnly })),
    serverAdapter,
    options: { uiConfig: { boardTitle: readOnly ? 'Freshet queues (read-only)' : 'Freshet queues' } },
  });
  return serverAdapter.getRouter() as RequestHandler;
}
