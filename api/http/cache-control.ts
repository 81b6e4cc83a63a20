/** `no-cache` or `max-age=0`, in any list of request directives. */
const DEMANDS_PROOF = /(?:^|,)[ \t]*(?:no-cache|max-age=0+)[ \t]*(?:,|$)/i;

/**
 * Whether the caller wants the answer proven against the origin (RFC 9111 5.2.1). Node's `fetch` sends `no-cache`
 * by itself as soon as the caller sets If-None-Match, so conditions are evaluated all the same.
 */
export const demandsProof = (cacheControl: string | undefined): boolean =>
  cacheControl !== undefined && DEMANDS_PROOF.test(cacheControl);
