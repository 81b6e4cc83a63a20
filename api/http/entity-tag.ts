/**
 * Entity tags by the grammar of RFC 9110 8.8.3:
 *
 *     entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE       W is upper case
 *     etagc      = %x21 / %x23-7E / obs-text           no quote, no space, no control; a comma is fine
 *     field      = "*" / [ entity-tag ] *( OWS "," OWS [ entity-tag ] )     5.6.1: members may be empty
 */
export interface EntityTag {
  readonly weak: boolean;
  /** Between the quotes. */
  readonly opaque: string;
}

/** What If-Match or If-None-Match says: any representation, or one of these. */
export type TagList = '*' | readonly EntityTag[];

export const serializeTag = (tag: EntityTag): string => `${tag.weak ? 'W/' : ''}"${tag.opaque}"`;

const TAB = 0x09;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const DEL = 0x7f;

/** The field's value, or null when it does not follow the grammar. Looks at each character once. */
export function parseTagList(field: string): TagList | null {
  const start = skipBlanks(field, 0);
  if (field[start] === '*') return skipBlanks(field, start + 1) === field.length ? '*' : null;
  const tags: EntityTag[] = [];
  let at = start;
  while (at < field.length) {
    if (field.charCodeAt(at) !== COMMA) {
      const weak = field.startsWith('W/', at);
      const opening = weak ? at + 2 : at;
      const closing = closingQuote(field, opening);
      if (closing < 0) return null;
      tags.push({ weak, opaque: field.slice(opening + 1, closing) });
      at = skipBlanks(field, closing + 1);
      if (at < field.length && field.charCodeAt(at) !== COMMA) return null;
    }
    at = skipBlanks(field, at + 1);
  }
  return tags;
}

/** One entity tag alone, or null. */
export function parseTag(text: string): EntityTag | null {
  const weak = text.startsWith('W/');
  const opening = weak ? 2 : 0;
  const closing = closingQuote(text, opening);
  return closing > 0 && closing === text.length - 1
    ? { weak, opaque: text.slice(opening + 1, closing) }
    : null;
}

/** Whether `text` could stand between the quotes of a tag. */
export function isOpaque(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (!isOpaqueCharacter(text.charCodeAt(at))) return false;
  return true;
}

/** RFC 9110 8.8.3.2, weak comparison (If-None-Match): the opaque parts are equal. */
export const matchesWeakly = (list: TagList, current: EntityTag): boolean =>
  list === '*' || list.some(tag => tag.opaque === current.opaque);

/** RFC 9110 8.8.3.2, strong comparison (If-Match): besides, neither of the two is weak. */
export const matchesStrongly = (list: TagList, current: EntityTag): boolean =>
  list === '*' || list.some(tag => !tag.weak && !current.weak && tag.opaque === current.opaque);

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (at < text.length && (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === TAB)) at += 1;
  return at;
}

/** Where the quoted string that opens at `opening` closes; -1 when none opens, or it holds what it may not. */
function closingQuote(text: string, opening: number): number {
  if (text.charCodeAt(opening) !== QUOTE) return -1;
  let at = opening + 1;
  while (at < text.length && isOpaqueCharacter(text.charCodeAt(at))) at += 1;
  return text.charCodeAt(at) === QUOTE ? at : -1;
}

const isOpaqueCharacter = (code: number): boolean =>
  code > SPACE && code !== QUOTE && code !== DEL && code <= 0xff;
