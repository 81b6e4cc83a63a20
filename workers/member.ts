import type { CacheStore } from '../shared/cache/store.ts';
import { FreshetError } from '../shared/errors.ts';
import type { Probe } from '../shared/origin/probe.ts';
import type { WatchedTables } from './definitions.ts';
import type { Duty, Term } from './duty.ts';
import type { Gap } from './feed/feed.ts';

export interface MemberOptions {
  readonly store: CacheStore;
  readonly watched: WatchedTables;
}

/**
 * A worker that follows partitions while another one leads. It fences rows and settles by P's of its own; what it
 * knows of epochs and definitions it reads, and never writes but to put more in doubt.
 */
export class Member implements Duty {
  readonly #options: MemberOptions;
  #term: Term = { epoch: '', incarnation: '', runId: null };
  #digests: ReadonlyMap<string, string> = new Map();

  constructor(options: MemberOptions) {
    this.#options = options;
  }

  get term(): Term {
    return this.#term;
  }

  /** `p`: taken before the definitions at hand were read. */
  async begin(p: Probe): Promise<void> {
    this.#digests = p.digests;
    await this.#renewTerm();
  }

  async checkIncarnation(p: Probe): Promise<void> {
    if (p.incarnation === this.#term.incarnation) return;
    await this.#renewTerm();
    if (p.incarnation === this.#term.incarnation) return;
    throw new FreshetError({
      code: 'gap-open',
      message: `the database is ${p.incarnation ?? 'without its marker'}, the cache is in ${this.#term.incarnation}`,
      hint: 'The worker that leads closes this gap.',
      retryable: true,
    });
  }

  /**
   * Whoever leads holds a table whose definition changed until every transaction of then has ended; but it cannot
   * know by which definition we read the changes that we hold. Those put the whole table in doubt.
   */
  async followDefinitions(p: Probe) {
    const { watched } = this.#options;
    const known = this.#digests;
    const doubted = new Set(
      [...watched.tables().keys()].filter(table => p.digests.get(table) !== known.get(table)),
    );
    if (doubted.size > 0) {
      await watched.refresh();
      this.#digests = p.digests;
    }
    return { isDefinite: true, doubted };
  }

  /** Whoever leads sees another life of the database in beats of its own. */
  answersFor(gap: Gap): boolean {
    return gap.cause !== 'other-incarnation';
  }

  async bumpGenerations(tables: readonly string[]): Promise<void> {
    const { store } = this.#options;
    if (await store.bumpGenerations(this.#term.epoch, tables)) return;
    await this.#renewTerm();
    if (await store.bumpGenerations(this.#term.epoch, tables)) return;
    throw new FreshetError({
      code: 'gap-open',
      message: 'the epoch of the cache is being replaced',
      hint: 'The worker that leads closes this gap.',
      retryable: true,
    });
  }

  /** Not while a gap is open: what is settled meanwhile is proven by later beats. */
  async mayEcho(): Promise<boolean> {
    return this.#renewTerm();
  }

  /** Whether the epoch that stands is closed, and of the life of the database that was known. */
  async #renewTerm(): Promise<boolean> {
    const { store } = this.#options;
    const standing = await store.standing();
    const was = this.#term.incarnation;
    this.#term = {
      epoch: standing?.epoch ?? '',
      incarnation: standing?.incarnation ?? '',
      runId: store.connection.runId,
    };
    return standing?.isClosed === true && was === this.#term.incarnation;
  }
}
