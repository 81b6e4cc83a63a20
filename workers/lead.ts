import type pg from 'pg';
import type { CacheStore } from '../shared/cache/store.ts';
import { FreshetError } from '../shared/errors.ts';
import type { Observer } from '../shared/observe.ts';
import type { Probe } from '../shared/origin/probe.ts';
import { Definitions, type WatchedTables } from './definitions.ts';
import type { Duty, Term } from './duty.ts';
import { GapError } from './gap-error.ts';

export interface LeadOptions {
  readonly store: CacheStore;
  readonly pool: pg.Pool;
  readonly watched: WatchedTables;
  readonly observer: Observer;
  /** Name of this worker, under which it claims the database. */
  readonly worker: string;
}

const NONE: ReadonlySet<string> = new Set();

/** The worker that keeps what exists once for a database. */
export class Lead implements Duty {
  readonly #options: LeadOptions;
  /** What the served tables look like, and which of them may be cached. */
  readonly definitions: Definitions;
  #term: Term = { epoch: '', incarnation: '', runId: null };

  constructor(options: LeadOptions) {
    this.#options = options;
    this.definitions = new Definitions({ ...options, otherEpoch: () => this.#otherEpoch() });
  }

  get term(): Term {
    return this.#term;
  }

  /** Works under this epoch from now on: what the last closed gap, or `control`, says. */
  begin(epoch: string, incarnation: string, digests: ReadonlyMap<string, string | null>): void {
    this.#term = { epoch, incarnation, runId: this.#options.store.connection.runId };
    this.definitions.begin(epoch, digests);
  }

  async checkIncarnation(p: Probe): Promise<void> {
    if (p.incarnation === this.#term.incarnation) return;
    throw new GapError({
      cause: 'other-incarnation',
      detail: `the database is ${p.incarnation ?? 'without its marker'}, changes were followed in ${this.#term.incarnation}`,
    });
  }

  /** Nothing at hand is doubted: a table whose definition changed is held until all transactions of then have ended. */
  async followDefinitions(p: Probe) {
    return { isDefinite: await this.definitions.follow(p), doubted: NONE };
  }

  answersFor(): boolean {
    return true;
  }

  async bumpGenerations(tables: readonly string[]): Promise<void> {
    if (!(await this.#options.store.bumpGenerations(this.#term.epoch, tables)))
      throw await this.#otherEpoch();
  }

  /** A lost or replaced control record: nothing cached under the old one may be called fresh. */
  async mayEcho(): Promise<boolean> {
    const standing = await this.#options.store.standing();
    if (standing?.epoch !== this.#term.epoch) throw await this.#otherEpoch();
    return true;
  }

  /** Why `control` does not hold this term's epoch any more. */
  async #otherEpoch(): Promise<Error> {
    const { store, worker } = this.#options;
    const control = await store.control();
    if (control?.epoch === this.#term.epoch && control.worker !== worker) {
      return new FreshetError({
        code: 'superseded',
        message: `worker ${control.worker} follows the database now`,
        hint: 'This one stands by.',
        retryable: true,
      });
    }
    const was = `changes were applied under epoch ${this.#term.epoch}`;
    if (store.connection.runId !== this.#term.runId) {
      return new GapError({
        cause: 'redis-replaced',
        detail: `${was}, in another run of the cache Redis`,
      });
    }
    if (control === null || control.incarnation === '') {
      return new GapError({ cause: 'control-missing', detail: `${was}, the cache holds no such record` });
    }
    return new GapError({ cause: 'ordered', detail: `${was}, epoch ${control.epoch} was ordered` });
  }
}
