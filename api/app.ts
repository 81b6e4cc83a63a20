import express from 'express';
import { answerErrors, refuseUnknownPath } from './answer.ts';
import {
  answerCollectionOptions,
  answerIndex,
  answerRowOptions,
  refuseCollectionMethod,
  refuseRowMethod,
} from './directory.ts';
import { answerLive, answerReady } from './health.ts';
import { JSON_TYPE, PATCH_TYPES } from './http/media-type.ts';
import type { ApiContext } from './ports.ts';
import { serveRow } from './read/serve-row.ts';
import { COLLECTION_PATH, ROW_PATH } from './target.ts';
import { bodyOf, onlyWritableCollection, onlyWritableRow } from './write/admit.ts';
import { createRow } from './write/create.ts';
import { patchRow } from './write/patch.ts';
import { removeRow } from './write/remove.ts';
import { replaceRow } from './write/replace.ts';

/** The API, in the order a request meets it. Nothing here waits, decides or knows a database. */
export function createApp(ctx: ApiContext): express.Express {
  const app = express();
  app.disable('x-powered-by');
  // Tags are made where the representation is made, once; Express would hash every body it sends.
  app.disable('etag');
  app.enable('strict routing');
  app.enable('case sensitive routing');
  app.set('query parser', 'simple');

  app.get('/health/live', answerLive);
  app.get('/health/ready', answerReady(ctx));
  app.get('/', answerIndex(ctx));

  app
    .route(ROW_PATH)
    .get(serveRow(ctx))
    .put(onlyWritableRow(ctx), bodyOf(JSON_TYPE), replaceRow(ctx))
    .patch(onlyWritableRow(ctx), bodyOf(...PATCH_TYPES), patchRow(ctx))
    .delete(onlyWritableRow(ctx), removeRow(ctx))
    .options(answerRowOptions(ctx))
    .all(refuseRowMethod(ctx));

  app
    .route(COLLECTION_PATH)
    .post(onlyWritableCollection(ctx), bodyOf(JSON_TYPE), createRow(ctx))
    .options(answerCollectionOptions(ctx))
    .all(refuseCollectionMethod(ctx));

  app.use(refuseUnknownPath);
  app.use(answerErrors(ctx.observer));
  return app;
}
