import type { Request, RequestHandler } from 'express';
import { updateRow } from '../../shared/origin/write.ts';
import { isWrittenNumber } from '../../shared/resources/json-exactly.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { essenceOf, MERGE_PATCH } from '../http/media-type.ts';
import { ProblemError } from '../http/problem.ts';
import { nestedMerge, noSuchRow } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { findRow } from '../target.ts';
import { type Body, parseBody, readColumns } from './body.ts';
import { conclude, sendWritten } from './conclude.ts';
import { conditionsOf, guardOf } from './conditions.ts';

/**
 * PATCH: the columns that the body names, and no others; null is NULL. A column's value is replaced as a whole, which
 * for scalars and arrays is what a merge patch (RFC 7396) means too. Naming a column of the key moves the row.
 */
export const patchRow =
  (ctx: ApiContext): RequestHandler =>
  async (req, res) => {
    const { resource, key } = findRow(ctx.catalog(), req.path);
    const conditions = conditionsOf(req);
    const body = parseBody(req.body);
    const columns = readColumns(resource, body);
    refuseNestedMerge(req, resource, body);

    const concluded = await conclude(ctx, {
      traceparent: req.get('traceparent'),
      resource,
      op: 'update',
      key,
      run: () => updateRow(ctx.writePool, resource, key, columns, guardOf(resource, req.method, conditions)),
    });
    if (concluded === null) throw new ProblemError(noSuchRow(resource.name));
    sendWritten(res, 200, resource, concluded, { validator: true });
  };

/** As a merge patch, an object would have to be merged into the stored one: refused rather than taken for another thing. */
function refuseNestedMerge(req: Request, resource: Resource, body: Body): void {
  if (essenceOf(req.headers['content-type']) !== MERGE_PATCH) return;
  const nested = resource.columns.filter(({ name, kind }) => kind === 'json' && isObject(body[name]));
  if (nested.length > 0) throw new ProblemError(nestedMerge(nested.map(column => column.name)));
}

const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isWrittenNumber(value);
