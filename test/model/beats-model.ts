/** The beats of one writer: their nonces are published once each, when they are settled on every partition. */
export class BeatsModel {
  readonly #settled = new Map<number, number>();
  readonly #notes = new Map<number, string>();

  note(number: number, nonces: string): void {
    this.#notes.set(number, nonces);
  }

  /** Beat `number` and all before it are settled on one partition. What is published by that. */
  echo(partition: number, number: number, partitions: number): string[] {
    this.#settled.set(partition, Math.max(number, this.#settled.get(partition) ?? 0));
    const everywhere = Math.min(...Array.from({ length: partitions }, (_, i) => this.#settled.get(i) ?? 0));
    const due = [...this.#notes].filter(([noted]) => noted <= everywhere);
    for (const [noted] of due) this.#notes.delete(noted);
    return due.map(([, nonces]) => nonces);
  }

  fields(): Record<string, string> {
    return Object.fromEntries([
      ...[...this.#settled].filter(([, number]) => number > 0).map(([i, number]) => [`p:${i}`, `${number}`]),
      ...[...this.#notes].map(([number, nonces]) => [`n:${number}`, nonces]),
    ]);
  }
}
