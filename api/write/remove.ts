import type { RequestHandler } from 'express';
import { deleteRow } from '../../shared/origin/write.ts';
import { ProblemError } from '../http/problem.ts';
import { noSuchRow } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { findRow } from '../target.ts';
import { conclude } from './conclude.ts';
import { conditionsOf, guardOf } from './conditions.ts';

/** DELETE: 204; a row that is not there is a 404, so that a caller learns of a second hand at work. */
export const removeRow =
  (ctx: ApiContext): RequestHandler =>
  async (req, res) => {
    const { resource, key } = findRow(ctx.catalog(), req.path);
    const guard = guardOf(resource, req.method, conditionsOf(req));
    const concluded = await conclude(ctx, {
      traceparent: req.get('traceparent'),
      resource,
      op: 'delete',
      key,
      run: () => deleteRow(ctx.writePool, resource, key, guard),
    });
    if (concluded === null) throw new ProblemError(noSuchRow(resource.name));
    res.writeHead(204, concluded.headers).end();
  };
