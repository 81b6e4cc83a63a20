import { parsePathKey } from '../shared/resources/canonical-key.ts';
import type { Catalog, Resource } from '../shared/resources/resource.ts';
import { ProblemError } from './http/problem.ts';
import { impossibleKey, unknownResource } from './http/problems.ts';

/** What a path names. Read from the raw path: a router's decoded parameters no longer tell `%2C` from a comma. */
export interface RowTarget {
  readonly resource: Resource;
  readonly key: string[];
}

/** `/<resource>/<key>`; both still percent-encoded, no trailing slash. */
export const ROW_PATH = /^\/[^/]+\/[^/]+$/;
/** `/<resource>` */
export const COLLECTION_PATH = /^\/[^/]+$/;

export const ROW_METHODS = {
  readOnly: 'GET, HEAD, OPTIONS',
  writable: 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS',
};
export const COLLECTION_METHODS = 'POST, OPTIONS';

/** @throws ProblemError 404, before cache or SQL are touched. */
export function findRow(catalog: Catalog, path: string): RowTarget {
  const slash = path.indexOf('/', 1);
  const resource = resourceNamed(catalog, path.slice(1, slash));
  const segment = path.slice(slash + 1);
  const key = parsePathKey(resource.table, segment);
  if (key === null) throw new ProblemError(impossibleKey(segment, keyForm(resource)));
  return { resource, key };
}

/** @throws ProblemError 404. */
export const findResource = (catalog: Catalog, path: string): Resource =>
  resourceNamed(catalog, path.slice(1));

export const allowedOnRow = (resource: Resource): string =>
  resource.write === false ? ROW_METHODS.readOnly : ROW_METHODS.writable;

/** `/memberships/{org_id},{user_id}` */
export const rowTemplate = (resource: Resource): string =>
  `/${resource.name}/${resource.table.key.map(column => `{${column.name}}`).join(',')}`;

/** `id (integer)`, `org (uuid),year (integer)` */
export const keyForm = (resource: Resource): string =>
  resource.table.key.map(column => `${column.name} (${column.type})`).join(',');

/** Names of resources need no encoding, so an encoded one is another name. */
function resourceNamed(catalog: Catalog, name: string): Resource {
  const resource = catalog.resources.get(name);
  if (!resource) throw new ProblemError(unknownResource(name, catalog.resources.keys()));
  return resource;
}
