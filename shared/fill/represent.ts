import { hash } from 'node:crypto';
import { FreshetError } from '../errors.ts';
import type { Resource } from '../resources/resource.ts';
import { type RowEncoder, rowEncoder } from '../resources/values.ts';

/** The bytes that are sent for a row, and the strong entity tag (quoted) that names them. */
export interface Representation {
  readonly body: Buffer;
  readonly etag: string;
}

/** 132 bits: as many as fit into 22 characters, and far from any collision. */
const HASH_LENGTH = 22;

const encoders = new WeakMap<Resource, RowEncoder>();

/**
 * The canonical representation of a row: equal rows give equal bytes and equal tags in every process.
 * `texts`: the resource's columns as Postgres prints them, in order.
 */
export function represent(resource: Resource, texts: readonly (string | null)[]): Representation {
  let encode = encoders.get(resource);
  if (!encode) {
    encode = rowEncoder(resource.columns);
    encoders.set(resource, encode);
  }
  const body = Buffer.from(encode(texts));
  if (resource.etag === 'hash')
    return { body, etag: `"${hash('sha256', body, 'base64url').slice(0, HASH_LENGTH)}"` };
  const version = texts[resource.columns.findIndex(column => column.name === resource.versionColumn)];
  if (version == null) {
    throw new FreshetError({
      code: 'no-version',
      message: `a row of ${resource.table.qualified} has no value in its version column ${resource.versionColumn}`,
      hint: 'Declare the column NOT NULL and let the trigger set it, or use etag: "hash".',
    });
  }
  return { body, etag: versionTag(resource, version) };
}

/** The tag of a version: it names the representation too, since another choice of columns is another set of bytes. */
export const versionTag = (resource: Resource, version: string): string => `"v${version}.${resource.rep}"`;

/** The version inside such a tag; null for any other tag, or one of another representation. */
export function versionOfTag(resource: Resource, etag: string): string | null {
  const match = /^"v(-?\d+)\.([^"]*)"$/.exec(etag);
  return match && match[2] === resource.rep ? match[1]! : null;
}
