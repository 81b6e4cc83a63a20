/**
 * The only file that builds key strings. A row's key is made of its primary key exactly as Postgres prints it,
 * never of what a URL says: `042` and `42` are one row, and no event would ever reach a second spelling.
 */

/** `users:42`, `billing.users:42`, `memberships:3,7`: the tag of a row, and the key of its record. */
export type RowTag = string;

const encodePart = (part: string): string => encodeURIComponent(part).replaceAll("'", '%27');

/** `public.` is left out. */
export const qualifiedName = (schema: string, name: string): string =>
  schema === 'public' ? encodePart(name) : `${encodePart(schema)}.${encodePart(name)}`;

/** The tag of a row. `key`: the primary key's columns in index order, each as Postgres prints it. */
export const rowTag = (qualifiedTable: string, key: readonly string[]): RowTag =>
  `${qualifiedTable}:${key.length === 1 ? encodePart(key[0]!) : key.map(encodePart).join(',')}`;

/** The path segment under which a row is served: the key part of its tag. */
export const rowPath = (key: readonly string[]): string => key.map(encodePart).join(',');

/** Splits a tag again; the inverse of `rowTag`. */
export function parseRowTag(tag: RowTag): { table: string; key: string[] } {
  const colon = tag.indexOf(':');
  if (colon < 0) throw new RangeError(`expected a row tag like users:42, got ${JSON.stringify(tag)}`);
  return {
    table: tag.slice(0, colon),
    key: tag
      .slice(colon + 1)
      .split(',')
      .map(decodeURIComponent),
  };
}

/** The Redis keys of one namespace (`freshet:<short id of the database system>` unless set). */
export interface Keys {
  readonly namespace: string;
  readonly row: (tag: RowTag) => string;
  readonly rowPattern: string;
  readonly control: string;
  readonly nonces: string;
  readonly beat: (writer: string) => string;
  readonly feed: (name: string) => string;
  readonly processes: string;
  readonly echo: string;
  /** Queue Redis: popularity of a resource's rows. */
  readonly popularity: (resource: string) => string;
}

/** Queue Redis: what BullMQ puts in front of its keys. */
export const jobsPrefix = (namespace: string): string => `${namespace}:jobs`;

export function keysOf(namespace: string): Keys {
  const rowPrefix = `${namespace}:r:{`;
  return {
    namespace,
    row: tag => `${rowPrefix}${tag}}`,
    rowPattern: `${rowPrefix}*`,
    control: `${namespace}:control`,
    nonces: `${namespace}:nonces`,
    beat: writer => `${namespace}:beat:${writer}`,
    feed: name => `${namespace}:feed:${name}`,
    processes: `${namespace}:processes`,
    echo: `${namespace}:echo`,
    popularity: resource => `${namespace}:popularity:${resource}`,
  };
}

/** The tag inside a row record's key; the inverse of `Keys.row`. */
export const tagOfRecord = (keys: Keys, recordKey: string): RowTag =>
  recordKey.slice(keys.row('').length - 1, -1);
