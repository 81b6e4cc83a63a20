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
/** Beside a version, which no other state of the row ever had. */
const VERSION_HASH_LENGTH = 8;

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
  const digest = hash('sha256', body, 'base64url');
  if (resource.etag === 'hash') return { body, etag: `"${digest.slice(0, HASH_LENGTH)}"` };
  const version = texts[resource.columns.findIndex(column => column.name === resource.versionColumn)];
  if (version == null) {
    throw new FreshetError({
      code: 'no-version',
      message: `a row of ${resource.table.qualified} has no value in its version column ${resource.versionColumn}`,
      hint: 'Declare the column NOT NULL and let the trigger set it, or use etag: "hash".',
    });
  }
  return { body, etag: `"v${version}.${digest.slice(0, VERSION_HASH_LENGTH)}"` };
}

/**
 * The version inside a version tag; null for any other tag. The rest of the tag names the bytes: a change of the
 * table's definition can change them without moving any row's version.
 */
export const versionOfTag = (etag: string): string | null => /^"v(-?\d+)\.[\w-]+"$/.exec(etag)?.[1] ?? null;
