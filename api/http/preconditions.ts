import {
  isOpaque,
  matchesStrongly,
  matchesWeakly,
  parseTag,
  parseTagList,
  type TagList,
} from './entity-tag.ts';

/** The fields of a request that set conditions, as they came; a field sent twice is joined by commas. */
export interface ConditionFields {
  readonly ifMatch?: string | undefined;
  /** `Freshet-If-Version`: the opaque part of a tag, for callers behind proxies that weaken or suffix tags. */
  readonly ifVersion?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
}

export interface Conditions {
  /** Every one of them must hold: If-Match, and Freshet-If-Version, which asks the same in other words. */
  readonly match: readonly TagList[];
  readonly noneMatch: TagList | null;
}

/** `not-modified` answers 304, `failed` 412, `malformed` 400. */
export type Verdict = 'proceed' | 'not-modified' | 'failed' | 'malformed';

const NO_CONDITIONS: Conditions = { match: [], noneMatch: null };

/**
 * Null when If-Match or Freshet-If-Version is malformed: 400, because on a 412 the client would fetch the current
 * tag and break it in the same way again. A malformed If-None-Match is no error: it matches nothing.
 */
export function readConditions(fields: ConditionFields): Conditions | null {
  const { ifMatch, ifVersion, ifNoneMatch } = fields;
  if (ifMatch === undefined && ifVersion === undefined && ifNoneMatch === undefined) return NO_CONDITIONS;
  const match: TagList[] = [];
  if (ifMatch !== undefined) {
    const list = parseTagList(ifMatch);
    if (list === null) return null;
    match.push(list);
  }
  if (ifVersion !== undefined) {
    if (ifVersion === '' || !isOpaque(ifVersion)) return null;
    match.push([{ weak: false, opaque: ifVersion }]);
  }
  return { match, noneMatch: ifNoneMatch === undefined ? null : parseTagList(ifNoneMatch) };
}

/**
 * RFC 9110 13.2.2 for the fields supported: first If-Match, then If-None-Match.
 * To be asked only where the answer without conditions would be a success (13.2.1): a 404 stays a 404.
 * `current`: the quoted tag of what is there now; null when nothing is.
 */
export function evaluate(method: string, conditions: Conditions, current: string | null): Verdict {
  const tag = current === null ? null : parseTag(current);
  for (const list of conditions.match) {
    if (tag === null || !matchesStrongly(list, tag)) return 'failed';
  }
  if (conditions.noneMatch !== null && tag !== null && matchesWeakly(conditions.noneMatch, tag)) {
    return method === 'GET' || method === 'HEAD' ? 'not-modified' : 'failed';
  }
  return 'proceed';
}

/** `readConditions` and `evaluate` in one, for requests whose current state is at hand. */
export function judge(method: string, fields: ConditionFields, current: string | null): Verdict {
  const conditions = readConditions(fields);
  return conditions === null ? 'malformed' : evaluate(method, conditions, current);
}
