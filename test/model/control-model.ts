/** `control` as the protocol tells of it: whose contents are believed, and which of them. */
export class ControlModel {
  #run: string | null = null;
  #epoch: string | null = null;
  readonly #others = new Map<string, string>();

  /** A server that is not the one known, or that has no epoch, is believed under a new epoch only. */
  adopt(run: string, epoch: string): 'known' | 'adopted' {
    if (this.#run === run && this.#epoch !== null) return 'known';
    this.#run = run;
    this.#epoch = epoch;
    return 'adopted';
  }

  /** A new epoch, for the server it was meant for, also where its record was lost. An empty incarnation leaves the one that stands. */
  epoch(
    epoch: string,
    run: string,
    incarnation: string,
    tables: readonly (readonly [field: string, value: string])[],
  ): 'raised' | 'other_run' {
    if (this.#run !== null && this.#run !== run) return 'other_run';
    this.#run = run;
    this.#epoch = epoch;
    if (incarnation !== '') this.#others.set('incarnation', incarnation);
    for (const [field, value] of tables) this.#others.set(field, value);
    return 'raised';
  }

  /** New generations of tables, by somebody who works under the epoch that stands. */
  generation(
    epoch: string,
    tables: readonly (readonly [field: string, value: string])[],
  ): 'raised' | 'other_epoch' {
    if (this.#epoch !== epoch) return 'other_epoch';
    for (const [field, value] of tables) this.#others.set(field, value);
    return 'raised';
  }

  /** Evicted, or the server was emptied. */
  lose(): void {
    this.#run = null;
    this.#epoch = null;
    this.#others.clear();
  }

  fields(): Record<string, string> {
    return {
      ...(this.#run !== null && { run: this.#run }),
      ...(this.#epoch !== null && { epoch: this.#epoch }),
      ...Object.fromEntries(this.#others),
    };
  }
}
