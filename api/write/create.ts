import type { RequestHandler } from 'express';
import { insertRow } from '../../shared/origin/write.ts';
import { ProblemError } from '../http/problem.ts';
import { preconditionFailed } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { findResource } from '../target.ts';
import { parseBody, readColumns } from './body.ts';
import { conclude, sendWritten } from './conclude.ts';
import { conditionsOf } from './conditions.ts';

/**
 * POST: a new row; columns that are not named get their defaults. With `If-None-Match: *` a row that already has
 * the key in the body is a 412; without, it is a 409 like any other value that has to be unique.
 */
export const createRow =
  (ctx: ApiContext): RequestHandler =>
  async (req, res) => {
    const resource = findResource(ctx.catalog(), req.path);
    const conditions = conditionsOf(req);
    // A row that is not there yet is in no state that If-Match could name.
    if (conditions.match.length > 0) throw new ProblemError(preconditionFailed(null));
    const columns = readColumns(resource, parseBody(req.body));
    const namesKey = resource.table.key.every(({ name }) => columns.has(name));
    const onlyNew = conditions.noneMatch === '*' && namesKey;

    const concluded = await conclude(ctx, {
      traceparent: req.get('traceparent'),
      resource,
      op: 'insert',
      key: null,
      run: () => insertRow(ctx.writePool, resource, columns, { onlyNew }),
    });
    sendWritten(res, 201, resource, concluded!, { validator: true });
  };
