/** `control` as the protocol tells of it: whose contents are believed, and which of them. */
export class ControlModel {
  #run: string | null = null;
  #epoch: string | null = null;
  #worker: string | null = null;
  /** The last epoch that closed a gap, whether it still stands or not. */
  #closed: string | null = null;
  readonly #others = new Map<string, string>();

  /** A server that is not the one known, or that has no epoch, is believed under a new epoch only. */
  adopt(run: string, epoch: string): 'known' | 'adopted' {
    if (this.#run === run && this.#epoch !== null) return 'known';
    this.#run = run;
    this.#epoch = epoch;
    return 'adopted';
  }

  /**
   * A new epoch, for the server it was meant for, also where its record was lost. An empty incarnation leaves the one
   * that stands. `closes`: the epoch with which a gap began, and who closes it; that is done only if nothing came up
   * since, and by nobody else than the one that leads.
   */
  epoch(
    epoch: string,
    run: string,
    incarnation: string,
    closes: { readonly epoch: string; readonly worker: string } | null,
    tables: readonly (readonly [field: string, value: string])[],
  ): 'raised' | 'other_run' | 'other_epoch' {
    if (this.#run !== null && this.#run !== run) return 'other_run';
    if (closes !== null && closes.epoch !== this.#epoch) return 'other_epoch';
    if (closes !== null && this.#worker !== null && closes.worker !== this.#worker) return 'other_epoch';
    if (closes !== null) this.#closed = epoch;
    this.#run = run;
    this.#epoch = epoch;
    if (incarnation !== '') this.#others.set('incarnation', incarnation);
    for (const [field, value] of tables) this.#others.set(field, value);
    return 'raised';
  }

  /** Somebody leads from now on. */
  claim(worker: string): void {
    this.#worker = worker;
  }

  /** Whether the epoch that stands is one under which something may be proven. */
  get isClosed(): boolean {
    return this.#epoch !== null && this.#epoch === this.#closed;
  }

  /**
   * New generations of tables, by somebody who works under the epoch that stands: as their definitions are, by whoever
   * leads; or of tables in doubt, by anybody, and these are then cached or not as they were before.
   */
  generation(
    epoch: string,
    worker: string | null,
    tables: readonly (readonly [field: string, generation: string, digest: string | null])[],
  ): 'raised' | 'other_epoch' {
    if (this.#epoch !== epoch) return 'other_epoch';
    if (worker !== null && worker !== this.#worker) return 'other_epoch';
    for (const [field, generation, digest] of tables) {
      const state = digest ?? this.#others.get(field)?.split(' ')[1];
      if (state !== undefined) this.#others.set(field, `${generation} ${state}`);
    }
    return 'raised';
  }

  /** Evicted, or the server was emptied. */
  lose(): void {
    this.#run = null;
    this.#epoch = null;
    this.#worker = null;
    this.#closed = null;
    this.#others.clear();
  }

  fields(): Record<string, string> {
    return {
      ...(this.#run !== null && { run: this.#run }),
      ...(this.#epoch !== null && { epoch: this.#epoch }),
      ...(this.#worker !== null && { worker: this.#worker }),
      ...(this.#closed !== null && { closed: this.#closed }),
      ...Object.fromEntries(this.#others),
    };
  }
}
