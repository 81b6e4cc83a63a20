/** The position of one partition as the protocol tells of it: it moves by the hand of the one who took it last. */
export class PositionModel {
  #fields: Record<string, string> | null = null;
  #owner: string | null = null;

  /** Somebody takes the partition over. Null where nothing is known of how far it was followed. */
  take(worker: string): Record<string, string> | null {
    this.#owner = worker;
    return this.fields();
  }

  remember(worker: string, position: Readonly<Record<string, string>>): 'remembered' | 'superseded' {
    if (this.#owner !== null && this.#owner !== worker) return 'superseded';
    this.#owner = worker;
    this.#fields = { ...this.#fields, ...position };
    return 'remembered';
  }

  /** A gap: nobody may go on from here. Whose the partition is stays known. */
  forget(worker: string): void {
    if (this.#owner !== null && this.#owner !== worker) return;
    this.#fields = null;
    this.#owner = worker;
  }

  /** Evicted, or the server was emptied. */
  lose(): void {
    this.#fields = null;
    this.#owner = null;
  }

  fields(): Record<string, string> | null {
    return this.#fields && { ...this.#fields, ...(this.#owner !== null && { owner: this.#owner }) };
  }
}
