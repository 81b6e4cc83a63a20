import type pg from 'pg';
import type { CacheStore } from '../../shared/cache/store.ts';
import type { Filler } from '../../shared/fill/lease-and-fill.ts';
import type { Observer } from '../../shared/observe.ts';
import type { Popularity } from '../../shared/queue/popularity.ts';
import type { Catalog } from '../../shared/resources/resource.ts';

/** What jobs work with. */
export interface JobNeeds {
  readonly filler: Pick<Filler, 'fill'>;
  readonly store: Pick<CacheStore, 'deleteRecord'>;
  /** Asked anew by each job: catalogs are replaced when a table's definition changes. */
  readonly catalog: () => Catalog;
  readonly popularity: Pick<Popularity, 'isHot' | 'top' | 'remembered' | 'forget'>;
  /** Of the primary. */
  readonly pool: Pick<pg.Pool, 'query'>;
  readonly observer: Observer;
}
