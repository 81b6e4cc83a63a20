import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const sessionForSeconds = 12 * 60 * 60;
/** Beyond these the oldest session ends: nobody has that many browsers. */
const sessionsAtMost = 100;

/** How a request shows that it comes from the operator; null: it does not. */
export type Identity = 'bearer' | 'session' | null;

/**
 * The one person who may change things, known by a token: in `Authorization: Bearer` from scripts, by a session
 * cookie from browsers. The cookie holds a random id, never the token: cookies do not tell ports apart, so other
 * services of the host get to see it.
 */
export class Operator {
  readonly #token: Buffer | null;
  readonly #sessions = new Map<string, number>();
  /** Two consoles on one host must not overwrite each other's cookie. */
  #cookie = 'freshet_console';

  constructor(token: string | null) {
    this.#token = token === null ? null : digest(token);
  }

  /** Without a token nobody is the operator, and nothing can be changed. */
  get exists(): boolean {
    return this.#token !== null;
  }

  nameCookieAfter(port: number): void {
    this.#cookie = `freshet_console_${port}`;
  }

  identify(request: IncomingMessage): Identity {
    const [, bearer] = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
    if (bearer !== undefined) return this.#isToken(bearer) ? 'bearer' : null;
    const until = this.#sessions.get(this.#sessionOf(request));
    return until !== undefined && until > Date.now() ? 'session' : null;
  }

  /** The `Set-Cookie` of a new session, or null when the token is wrong. */
  logIn(token: string): string | null {
    if (!this.#isToken(token)) return null;
    const id = randomBytes(32).toString('base64url');
    this.#sessions.set(id, Date.now() + sessionForSeconds * 1_000);
    if (this.#sessions.size > sessionsAtMost) this.#sessions.delete(this.#sessions.keys().next().value!);
    return this.#setCookie(id, sessionForSeconds);
  }

  /** The `Set-Cookie` that ends a session. */
  logOut(request: IncomingMessage): string {
    this.#sessions.delete(this.#sessionOf(request));
    return this.#setCookie('', 0);
  }

  #setCookie(id: string, maxAgeSeconds: number): string {
    return `${this.#cookie}=${id}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Strict`;
  }

  #sessionOf(request: IncomingMessage): string {
    const cookies = (request.headers.cookie ?? '').split(/; */).map(pair => pair.split('='));
    return cookies.find(([name]) => name === this.#cookie)?.[1] ?? '';
  }

  /** Compares digests: they are of equal length, and comparing takes equally long whatever differs. */
  #isToken(token: string): boolean {
    return this.#token !== null && timingSafeEqual(this.#token, digest(token));
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Whether a browser says that one of our own pages sent this. Cookies travel with what other pages of the site
 * send as well ("site" does not look at ports), so a change by cookie needs this on top.
 */
export function isSameOrigin(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  if (origin !== undefined) return URL.parse(origin)?.host === host;
  return request.headers['sec-fetch-site'] === 'same-origin';
}

/** Whole names only: `127.0.0.1.example.org` is anybody's. */
export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/.test(host);

/** A page elsewhere can have its own name resolve to the loopback address; it cannot change the Host it sends. */
export const asksForLoopback = (request: IncomingMessage): boolean =>
  isLoopback((request.headers.host ?? '').replace(/:\d+$/, ''));
