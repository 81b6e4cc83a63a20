import type { RequestHandler } from 'express';
import { type Assignments, DEFAULT, insertRow, updateRow } from '../../shared/origin/write.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import type { Conditions } from '../http/preconditions.ts';
import { ProblemError } from '../http/problem.ts';
import { canCreateHere, cannotCreateHere } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { findRow } from '../target.ts';
import { type ColumnTexts, parseBody, readRow } from './body.ts';
import { conclude, sendWritten } from './conclude.ts';
import { conditionsOf, guardOf } from './conditions.ts';

/**
 * PUT: the body is the whole row. Writable columns that it does not name go back to their defaults; the key is the
 * path's. A row that is not there is created only when the caller says so by `If-None-Match: *`: otherwise a PUT that
 * meets a DELETE would bring the row back.
 */
export const replaceRow =
  (ctx: ApiContext): RequestHandler =>
  async (req, res) => {
    const { resource, key } = findRow(ctx.catalog(), req.path);
    const conditions = conditionsOf(req);
    const columns = readRow(resource, key, parseBody(req.body));
    const creates = asksToCreate(conditions) && takesKeys(resource);

    const concluded = await conclude(ctx, {
      traceparent: req.get('traceparent'),
      resource,
      op: creates ? 'insert' : 'update',
      key,
      run: () =>
        creates
          ? insertRow(ctx.writePool, resource, withKey(resource, key, columns), { onlyNew: true })
          : updateRow(
              ctx.writePool,
              resource,
              key,
              wholeRow(resource, columns),
              guardOf(resource, req.method, conditions),
            ),
    });
    if (concluded === null) {
      throw new ProblemError((takesKeys(resource) ? canCreateHere : cannotCreateHere)(resource.name));
    }
    const validator = concluded.written.representation!.body.equals(req.body);
    sendWritten(res, creates ? 201 : 200, resource, concluded, { validator });
  };

/** `If-None-Match: *` alone: together with If-Match it can never hold. */
const asksToCreate = ({ match, noneMatch }: Conditions): boolean => noneMatch === '*' && match.length === 0;

/** Whether callers may choose keys: every column of the key is one that they may write. */
const takesKeys = (resource: Resource): boolean =>
  resource.table.key.every(
    ({ name }) => !resource.readOnly.has(name) && resource.columns.some(column => column.name === name),
  );

const withKey = (resource: Resource, key: readonly string[], columns: ColumnTexts): Assignments =>
  new Map([...resource.table.key.map(({ name }, i) => [name, key[i]!] as const), ...columns]);

function wholeRow(resource: Resource, columns: ColumnTexts): Assignments {
  const isKey = (name: string): boolean => resource.table.key.some(column => column.name === name);
  const names = resource.columns
    .map(({ name }) => name)
    .filter(name => !resource.readOnly.has(name) && !isKey(name));
  return new Map(names.map(name => [name, columns.has(name) ? columns.get(name)! : DEFAULT]));
}
