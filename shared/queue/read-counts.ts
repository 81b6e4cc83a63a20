import type { RowTag } from '../resources/keys.ts';

interface Count {
  reads: number;
}

/**
 * Reads per row since they were last taken away, of one process. Bounded: rows beyond `rowsPerResource` are not
 * counted until the next taking, by which time what is hot has long been seen.
 */
export class ReadCounts {
  readonly #rowsPerResource: number;
  #resources = new Map<string, Map<RowTag, Count>>();

  constructor(rowsPerResource: number) {
    this.#rowsPerResource = rowsPerResource;
  }

  /** On the path of every read: two look-ups and an addition. */
  add(resource: string, tag: RowTag, reads = 1): void {
    let rows = this.#resources.get(resource);
    if (rows === undefined) {
      rows = new Map();
      this.#resources.set(resource, rows);
    }
    const count = rows.get(tag);
    if (count !== undefined) count.reads += reads;
    else if (rows.size < this.#rowsPerResource) rows.set(tag, { reads });
  }

  /** Hands over all counts and starts again from nothing. */
  take(): Map<string, [tag: RowTag, reads: number][]> {
    const taken = this.#resources;
    this.#resources = new Map();
    return new Map(
      [...taken].map(([resource, rows]) => [resource, [...rows].map(([tag, { reads }]) => [tag, reads])]),
    );
  }

  /** Where no more rows can be counted: halves all counts and forgets what comes to nothing. */
  makeRoom(): void {
    for (const rows of this.#resources.values()) {
      if (rows.size < this.#rowsPerResource) continue;
      for (const [tag, count] of rows) {
        count.reads = Math.floor(count.reads / 2);
        if (count.reads === 0) rows.delete(tag);
      }
    }
  }

  rowsOf(resource: string): number {
    return this.#resources.get(resource)?.size ?? 0;
  }
}
