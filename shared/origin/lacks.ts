import type { Query } from '../resources/introspect.ts';
import type { Finding } from './examine/finding.ts';
import { examineObjects } from './examine/objects.ts';
import { examinePublication } from './examine/publication.ts';
import { examineRights } from './examine/rights.ts';
import { examineServer, refuseOld } from './examine/server.ts';
import { examineSlot } from './examine/slot.ts';

export interface LacksQuestion {
  readonly feed: 'wal' | 'kafka';
  /** The feed's slot; null: whoever follows the database makes it. */
  readonly slot: string | null;
  /** The database is our own: the publication is for whatever tables there will be. */
  readonly isOurs: boolean;
}

/** How the walsender of each feed is called in `pg_stat_replication`. */
export const WALSENDERS = { wal: 'freshet wal feed', kafka: 'Debezium Streaming' } as const;

/**
 * What is missing for Freshet to follow this database; empty when it is ready. What the resources need of their
 * tables is not asked here: every process judges that for itself.
 */
export async function findLacks(query: Query, { feed, slot, isOurs }: LacksQuestion): Promise<Finding[]> {
  const tooOld = await refuseOld(query);
  if (tooOld) return [tooOld];
  const found = [
    ...(await examineServer(query, { slot, walsender: WALSENDERS[feed] })),
    ...(await examineObjects(query)),
    ...(await examineRights(query, { parts: ['api', 'worker'], feed, resources: [] })),
    ...(await examinePublication(query, { ofEverything: isOurs })),
    ...(slot === null ? [] : await examineSlot(query, slot, feed)),
  ];
  return found.filter(({ level }) => level === 'missing');
}
