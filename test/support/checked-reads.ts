import { setTimeout as delay } from 'node:timers/promises';
import { expect } from '@jest/globals';
import { eventually } from './eventually.ts';
import type { History, Shown } from './history.ts';
import type { ApiProcess } from './world.ts';

/** One answer, held against everything that was acknowledged before it was asked for. */
export interface Judged {
  readonly path: string;
  /** By the monotonic clock. */
  readonly sentMs: number;
  readonly status: number;
  readonly cacheStatus: string;
  /** Null: a body that nobody wrote, or a tag that stands for two. */
  readonly staleMs: number | null;
  readonly body: string;
}

export interface CheckedReads {
  readonly judged: readonly Judged[];
  /** Ends them and throws what went wrong on the way. */
  stop(): Promise<void>;
}

export interface CheckedReadsOptions {
  /** Reading at the same time. */
  readonly readers?: number;
  readonly pauseMs?: number;
  /** All of the history unless given. */
  readonly paths?: readonly string[] | undefined;
}

/** Tags by path: what each stood for. Shared by all readers of a test, so that one tag never means two bodies. */
export class Tags {
  readonly #bodies = new Map<string, string>();
  readonly #newest = new Map<string, string>();

  /** The tag that was answered last for the path. */
  of(path: string): string | undefined {
    return this.#newest.get(path);
  }

  body(path: string, tag: string): string | undefined {
    return this.#bodies.get(`${path} ${tag}`);
  }

  /** Tags that the path had and has no more. */
  former(path: string): string[] {
    return [...this.#bodies.keys()]
      .filter(key => key.startsWith(`${path} `))
      .map(key => key.slice(path.length + 1))
      .filter(tag => tag !== this.of(path));
  }

  /** False where the tag stood for another body before. */
  note(path: string, tag: string, body: string): boolean {
    const key = `${path} ${tag}`;
    const before = this.#bodies.get(key);
    this.#bodies.set(key, body);
    this.#newest.set(path, tag);
    return before === undefined || before === body;
  }
}

/** Reads a path once, with the tag that was got last or without, and judges the answer. */
async function readOnce(
  api: ApiProcess,
  history: History,
  tags: Tags,
  path: string,
  conditional: boolean,
): Promise<Judged> {
  const tag = conditional ? tags.of(path) : undefined;
  const sentMs = performance.now();
  const { status, headers, body } = await api.get(path, tag === undefined ? {} : { 'If-None-Match': tag });
  const cacheStatus = headers['cache-status'] ?? '';
  const isKnown = status !== 200 || tags.note(path, headers.etag!, body);
  const shown: Shown | undefined =
    status === 304 ? tags.body(path, headers.etag!) : { 200: body, 404: null }[status];
  const staleMs = isKnown && shown !== undefined ? history.staleness(path, sentMs, shown) : null;
  return { path, sentMs, status, cacheStatus, staleMs, body: shown ?? body };
}

/** Readers of a history's paths, in turn, every other read a conditional one. */
export function startReads(
  api: ApiProcess,
  history: History,
  tags: Tags,
  { readers = 2, pauseMs = 2, paths = history.paths }: CheckedReadsOptions = {},
): CheckedReads {
  const judged: Judged[] = [];
  let running = true;
  const loops = Array.from({ length: readers }, async (_, reader) => {
    for (let n = 0; running; n += 1) {
      const path = paths[(n * readers + reader) % paths.length]!;
      judged.push(await readOnce(api, history, tags, path, n % 2 === 1));
      await delay(pauseMs);
    }
  });
  // Told by `stop`; until then it is nobody's unhandled rejection.
  for (const loop of loops) loop.catch(() => {});
  return {
    judged,
    async stop() {
      running = false;
      await Promise.all(loops);
    },
  };
}

/** What FRESH promises: FRESHET_MAX_STALENESS_MS. */
export const BOUND_MS = 1_000;

const HIT = /^freshet; hit(; ttl=\d+)?(; detail=negative)?$/;

export interface Verdict {
  readonly reads: number;
  /** Answered by the cache alone. */
  readonly hits: number;
  readonly notModified: number;
  /** Neither a hit in mode FRESH nor from the database for want of an entry: the mode was another one. */
  readonly guarded: number;
  readonly worstMs: number;
}

/**
 * I0 and I1: no answer that nobody wrote, none that was certainly overtaken for longer than the bound, whatever the
 * mode, and none refused; and I8: there were hits and 304s to be judged.
 */
export function expectKept(judged: readonly Judged[]): Verdict {
  const verdict: Verdict = {
    reads: judged.length,
    hits: judged.filter(({ cacheStatus }) => HIT.test(cacheStatus)).length,
    notModified: judged.filter(({ status }) => status === 304).length,
    guarded: judged.filter(({ cacheStatus }) => /GUARDED|BYPASS/.test(cacheStatus)).length,
    worstMs: Math.max(0, ...judged.map(({ staleMs }) => staleMs ?? 0)),
  };
  expect(judged.filter(({ status }) => ![200, 304, 404].includes(status))).toEqual([]);
  expect(judged.filter(({ staleMs }) => staleMs === null)).toEqual([]);
  expect(judged.filter(({ staleMs }) => staleMs! > BOUND_MS)).toEqual([]);
  expect(verdict.hits).toBeGreaterThan(20);
  expect(verdict.notModified).toBeGreaterThan(10);
  return verdict;
}

/** I5: every path answers its newest state, from the cache in mode FRESH; its newest tag gives 304, former ones 200. */
export async function expectConverged(api: ApiProcess, history: History, tags: Tags): Promise<void> {
  for (const path of history.paths) {
    const shown = history.newest(path);
    const answer = await eventually(
      `${path} shows what was written last, as a hit`,
      () => api.get(path),
      ({ status, body, headers }) =>
        HIT.test(headers['cache-status'] ?? '') && (shown === null ? status === 404 : body === shown),
    );
    if (shown === null) continue;
    const { etag } = answer.headers;
    expect(tags.note(path, etag!, shown)).toBe(true);
    const same = await api.get(path, { 'If-None-Match': etag! });
    expect([path, same.status, same.headers.etag]).toEqual([path, 304, etag]);
    const [former] = tags.former(path);
    if (former === undefined || tags.body(path, former) === shown) continue;
    const changed = await api.get(path, { 'If-None-Match': former });
    expect([path, changed.status, changed.body]).toEqual([path, 200, shown]);
  }
}
