import { quoteIdentifier, quoteLiteral, quoteTable } from '../origin/quote.ts';
import type { RowTrigger } from './table-facts.ts';

/**
 * What `etag: 'version'` rests on. Whoever writes the row, through the API or past it, its version moves, and no value
 * ever comes twice, not even for a row that was deleted and inserted again: all values are drawn from one sequence,
 * and drawn after the row was locked, because the trigger runs then. `security definer`, so that a role which may
 * write the table needs no rights on the sequence.
 */
export const BUMP_VERSION_SQL = `create sequence if not exists freshet.version;
create or replace function freshet.bump_version() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  return jsonb_populate_record(new, jsonb_build_object(tg_argv[0], nextval('freshet.version')));
end $$`;

const FUNCTION = 'freshet.bump_version';

/** `enable always`: logical replication into the table would otherwise write past the trigger. */
export function versionTriggerSql(table: { schema: string; name: string }, column: string): string {
  const name = quoteIdentifier(`freshet_bump_${column}`.slice(0, 60));
  const target = quoteTable(table);
  return (
    `create trigger ${name} before insert or update on ${target} for each row ` +
    `execute function ${FUNCTION}(${quoteLiteral(column)}); alter table ${target} enable always trigger ${name};`
  );
}

/** Whether triggers of a table move the version with every insert and update. */
export function bumpsVersion(triggers: readonly RowTrigger[], column: string): boolean {
  const bumping = triggers.filter(
    trigger => trigger.function === FUNCTION && trigger.arguments[0] === column,
  );
  return bumping.some(trigger => trigger.onInsert) && bumping.some(trigger => trigger.onUpdate);
}
