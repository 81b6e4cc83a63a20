import { FreshetError } from '../errors.ts';
import type { Observer } from '../observe.ts';
import type { FreshetConfig } from './define.ts';
import { introspect, type Query } from './introspect.ts';
import { loadCatalog } from './load-catalog.ts';
import type { Catalog, Resource, TableShape } from './resource.ts';
import { checkTable } from './table-checks.ts';
import { tableFacts } from './table-facts.ts';

/**
 * The resources of a process as they are now. Read again, as a whole, when a definition or the publication changed.
 * A change that a resource cannot live with leaves the last good catalog standing and makes its table uncacheable:
 * what the database still answers is answered, from the database.
 */
export class LiveCatalog {
  readonly #query: Query;
  readonly #config: FreshetConfig | null;
  readonly #observer: Observer;
  #catalog: Catalog;
  #uncacheable: ReadonlyMap<string, string> = new Map();
  /** Settles with the reading under way, however it ends. */
  #underWay: Promise<void> = Promise.resolve();
  #next: Promise<void> | null = null;

  private constructor(query: Query, config: FreshetConfig | null, observer: Observer, catalog: Catalog) {
    this.#query = query;
    this.#config = config;
    this.#observer = observer;
    this.#catalog = catalog;
  }

  /** `query`: with the role that reads the rows. @throws FreshetError `bad-resources`. */
  static async open(query: Query, config: FreshetConfig | null, observer: Observer): Promise<LiveCatalog> {
    const catalog = await loadCatalog(query, config);
    for (const text of catalog.notes) observer.emit({ type: 'note', level: 'info', text });
    return new LiveCatalog(query, config, observer, catalog);
  }

  readonly current = (): Catalog => this.#catalog;
  readonly tables = (): ReadonlyMap<string, TableShape> => this.#catalog.tables;
  readonly resource = (name: string): Resource | undefined => this.#catalog.resources.get(name);

  /** Why entries of a table may not be cached now; null when they may. */
  uncacheable(table: string): string | null {
    return this.#uncacheable.get(table) ?? null;
  }

  /**
   * Reads the definitions again. Whoever asks while a reading is under way waits for the next one, which serves all
   * of them: the one under way may have looked before the change they know of.
   */
  refresh(): Promise<void> {
    this.#next ??= this.#underWay.then(() => {
      this.#next = null;
      const reading = this.#read();
      this.#underWay = reading.catch(() => {});
      return reading;
    });
    return this.#next;
  }

  async #read(): Promise<void> {
    try {
      const before = this.#catalog;
      const loaded = await loadCatalog(this.#query, this.#config);
      this.#catalog = withKnown(loaded, before);
      this.#uncacheable = await this.#withoutGood(loaded);
    } catch (error) {
      if (!(error instanceof FreshetError) || error.code !== 'bad-resources') throw error;
      this.#observer.emit({
        type: 'note',
        level: 'error',
        text: 'a change of the database does not fit the resources',
        error,
      });
      this.#uncacheable = await this.#findUncacheable();
    }
  }

  /** Without a configuration, a table that cannot be served any more just is not among the loaded ones. */
  async #withoutGood(loaded: Catalog): Promise<ReadonlyMap<string, string>> {
    const left = [...this.#catalog.tables.keys()].filter(table => !loaded.tables.has(table));
    if (left.length === 0) return new Map();
    const found = await this.#findUncacheable();
    return new Map(left.map(table => [table, found.get(table) ?? 'it is not served any more']));
  }

  /** Tables whose changes are not sure to reach us any more; keys and shapes are those of the last good catalog. */
  async #findUncacheable(): Promise<ReadonlyMap<string, string>> {
    const known = [...this.#catalog.tables.values()];
    const shapes = await introspect(this.#query, {
      tables: known.map(({ schema, name }) => `${schema}.${name}`),
    });
    const facts = await tableFacts(this.#query, shapes);
    const found = new Map<string, string>();
    for (const { qualified, key } of known) {
      const shape = shapes.find(one => one.qualified === qualified);
      const factsOf = facts.find(one => one.oid === shape?.oid);
      if (!shape || !factsOf) {
        found.set(qualified, 'it is not there any more');
        continue;
      }
      const flaws = checkTable(shape, factsOf);
      if (flaws[0]) found.set(qualified, `expected ${flaws[0].expected}, it is ${flaws[0].came}`);
      else if (shape.key.map(column => column.name).join() !== key.map(column => column.name).join()) {
        found.set(qualified, 'its primary key is another one');
      }
    }
    return found;
  }
}

/** `loaded`, and what was known before and is not in it: to be watched on, so that its return is noticed. */
function withKnown(loaded: Catalog, before: Catalog): Catalog {
  const resources = new Map([...before.resources, ...loaded.resources]);
  return {
    resources,
    tables: new Map([...before.tables, ...loaded.tables]),
    notes: loaded.notes,
    of: table => [...resources.values()].filter(resource => resource.table.qualified === table),
  };
}
