import { MIMEType } from 'node:util';

export const JSON_TYPE = 'application/json';
/** RFC 7396. */
export const MERGE_PATCH = 'application/merge-patch+json';
export const PATCH_TYPES: readonly string[] = [JSON_TYPE, MERGE_PATCH];

/** `type/subtype` of a Content-Type in UTF-8; null for a malformed field or another charset. */
export function essenceOf(contentType: string | undefined): string | null {
  if (contentType === undefined) return null;
  try {
    const { essence, params } = new MIMEType(contentType);
    const charset = params.get('charset') ?? 'utf-8';
    return charset.toLowerCase() === 'utf-8' ? essence : null;
  } catch {
    return null;
  }
}
