import type pg from 'pg';
import { kafkaNames } from '../../connectors/names.ts';
import type { Settings } from '../../shared/config.ts';
import { slotOf } from '../../shared/origin/adopt.ts';
import type { Finding } from '../../shared/origin/examine/finding.ts';
import { examineObjects } from '../../shared/origin/examine/objects.ts';
import { examineTables } from '../../shared/origin/examine/publication.ts';
import { examineRights, type Part } from '../../shared/origin/examine/rights.ts';
import { examineServer, refuseOld } from '../../shared/origin/examine/server.ts';
import { examineSlot } from '../../shared/origin/examine/slot.ts';
import { WALSENDERS } from '../../shared/origin/lacks.ts';
import { readConfigFile } from '../../shared/resources/config-file.ts';
import type { Query } from '../../shared/resources/introspect.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { resourcesFor } from '../up/resources.ts';
import { type Group, lookAt } from './group.ts';
import type { Targets } from './targets.ts';

export interface DatabaseQuestion {
  readonly settings: Settings;
  readonly targets: Targets;
  /** Whose role it is that asks. */
  readonly parts: readonly Part[];
}

export interface DatabaseAnswer {
  readonly groups: readonly Group[];
  readonly resources: readonly Resource[];
}

/** Everything about the database, as the role that is connected sees it. */
export async function examineDatabase(
  client: pg.Client,
  { settings, targets, parts }: DatabaseQuestion,
): Promise<DatabaseAnswer> {
  const query: Query = (sql, params = []) => client.query(sql, params);
  const { feed } = targets;
  const slot = feed === 'kafka' ? kafkaNames(settings.namespace).slot : slotOf(settings.namespace);
  const tooOld = await refuseOld(query);
  if (tooOld) return { groups: [{ name: 'Server', findings: [tooOld] }], resources: [] };
  let resources: readonly Resource[] = [];
  const tables = async (): Promise<readonly Finding[]> => {
    const file = settings.configFile ?? (targets.isLocal ? null : await resourcesFor(client, process.cwd()));
    const examined = await examineTables(query, await readConfigFile(file, process.cwd()));
    resources = examined.resources;
    return examined.findings;
  };
  const groups = [
    await lookAt('Server', () => examineServer(query, { slot, walsender: WALSENDERS[feed] })),
    await lookAt('Schema freshet', () => examineObjects(query)),
    await lookAt('Publication and tables', tables),
    await lookAt('Replication slot', () => examineSlot(query, slot, feed)),
    await lookAt('Role', () => examineRights(query, { parts, feed, resources })),
  ];
  return { groups, resources };
}
