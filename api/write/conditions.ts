import type { Request } from 'express';
import { versionOfTag } from '../../shared/fill/represent.ts';
import type { Guard } from '../../shared/origin/write.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { type EntityTag, serializeTag } from '../http/entity-tag.ts';
import { type Conditions, evaluate, readConditions } from '../http/preconditions.ts';
import { ProblemError } from '../http/problem.ts';
import { malformedCondition } from '../http/problems.ts';

/** @throws ProblemError 400 for a malformed If-Match or Freshet-If-Version. */
export function conditionsOf({ headers }: Request): Conditions {
  const conditions = readConditions({
    ifMatch: headers['if-match'],
    ifVersion: headers['freshet-if-version'] as string | undefined,
    ifNoneMatch: headers['if-none-match'],
  });
  if (conditions === null) throw new ProblemError(malformedCondition);
  return conditions;
}

/**
 * What the writing transaction has to check; null for nothing. Where a tag is a version and only If-Match was sent,
 * the statement's own condition can do it.
 */
export function guardOf(resource: Resource, method: string, conditions: Conditions): Guard | null {
  const { match, noneMatch } = conditions;
  if (match.length === 0 && noneMatch === null) return null;
  if (resource.etag === 'version' && noneMatch === null) {
    const lists = match.filter(list => list !== '*');
    // `*` alone asks for a row that exists, and a write finds out by itself.
    if (lists.length === 0) return null;
    return { kind: 'versions', versions: versionsIn(lists) };
  }
  return { kind: 'current', holds: etag => evaluate(method, conditions, etag) === 'proceed' };
}

/**
 * The versions that every list names. The rest of a version tag, which names bytes, is not looked at: a definition
 * that changed since does not make the caller's picture of the row an old one.
 */
function versionsIn(lists: readonly (readonly EntityTag[])[]): string[] {
  const sets = lists.map(tags => new Set(tags.map(tag => versionOfTag(serializeTag(tag)))));
  const [first, ...others] = sets;
  return [...first!].filter(version => version !== null && others.every(set => set.has(version))) as string[];
}
