import { FreshetError } from '../shared/errors.ts';
import type { Finding } from '../shared/origin/examine/finding.ts';
import { examinePublication } from '../shared/origin/examine/publication.ts';
import { examineRights } from '../shared/origin/examine/rights.ts';
import { examineServer, refuseOld } from '../shared/origin/examine/server.ts';
import { WALSENDERS } from '../shared/origin/lacks.ts';
import type { Query } from './register.ts';
import { type ConnectorSlot, readConnectorSlot } from './slot-places.ts';

/**
 * All that Debezium would stumble over later, and tell less clearly. `role`: the one that Connect logs in with.
 * @throws FreshetError `database-not-prepared` with the SQL.
 */
export async function checkDatabase(query: Query, slot: string, role: string): Promise<void> {
  const ask = async (sql: string, params: unknown[] = []) => ({ rows: [...(await query(sql, params)).rows] });
  const tooOld = await refuseOld(ask);
  if (tooOld) throw notPrepared([tooOld]);
  const found = [
    ...(await examineServer(ask, { slot, walsender: WALSENDERS.kafka })),
    ...(await examinePublication(ask, { ofEverything: false })),
    ...(await examineRights(ask, { parts: ['connect'], feed: 'kafka', resources: [], role })),
    ...foreign(slot, await readConnectorSlot(query, slot)),
  ];
  const lacks = found.filter(({ level }) => level === 'missing');
  if (lacks.length > 0) throw notPrepared(lacks);
}

function foreign(name: string, slot: ConnectorSlot | null): Finding[] {
  if (slot === null || (slot.database === slot.here && slot.plugin === 'pgoutput')) return [];
  const what = `a slot of its own: ${name} belongs to database ${slot.database}, plugin ${slot.plugin}`;
  const mend = 'Set FRESHET_NAMESPACE: a namespace of its own has a slot of its own.';
  return [{ level: 'missing', what, why: null, sql: [], mend }];
}

export function notPrepared(lacks: readonly Finding[]): FreshetError {
  const sql = lacks.flatMap(lack => lack.sql);
  const mends = lacks.flatMap(({ mend }) => (mend === null ? [] : [mend]));
  const run = `Run, as a role that may:\n${sql.map(statement => `    ${statement};`).join('\n')}`;
  return new FreshetError({
    code: 'database-not-prepared',
    message: `Debezium cannot follow this database yet; it lacks:\n${lacks.map(({ what }) => `  - ${what}`).join('\n')}`,
    hint: [...(sql.length === 0 ? [] : [run]), ...mends].join('\n  '),
  });
}
