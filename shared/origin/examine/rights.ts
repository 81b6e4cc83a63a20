import type { Query } from '../../resources/introspect.ts';
import type { Resource } from '../../resources/resource.ts';
import { quoteIdentifier, quoteTable } from '../quote.ts';
import { askFacts, type Finding, good, missing, note } from './finding.ts';

/** Who connects with a role: the processes that answer, those that follow, and Kafka Connect. */
export type Part = 'api' | 'worker' | 'connect';

export interface RightsQuestion {
  readonly parts: readonly Part[];
  readonly feed: 'wal' | 'kafka';
  /** What is to be read and, where it is declared so, written. */
  readonly resources: readonly Resource[];
}

interface RoleFacts {
  /** As SQL names it. */
  readonly role: string;
  readonly superuser: boolean;
  readonly replication: boolean;
  readonly statistics: boolean;
  readonly schema: boolean;
  readonly readAlive: boolean;
  readonly markAlive: boolean;
  readonly keepDeadLetters: boolean;
}

// A right on something that is not there yet is lacking: it is printed together with what makes the thing.
const FACTS = `
  select json_build_object(
    'role', quote_ident(current_user),
    'superuser', me.rolsuper,
    -- Attributes are never inherited; some managed servers have a role for it instead.
    'replication', me.rolreplication or me.rolsuper or coalesce(
      (select pg_has_role(r.oid, 'usage') from pg_roles r where r.rolname = 'rds_replication'), false),
    'statistics', pg_has_role('pg_read_all_stats', 'usage'),
    'schema', coalesce((select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = 'freshet'), false),
    'readAlive', coalesce(has_table_privilege(alive.oid, 'select'), false),
    'markAlive', coalesce(has_table_privilege(alive.oid, 'insert'), false),
    'keepDeadLetters', coalesce(has_table_privilege(dead_letter.oid, 'insert'), false)
  )::text as facts
  from pg_roles me
  left join pg_namespace freshet on freshet.nspname = 'freshet'
  left join pg_class alive on alive.relnamespace = freshet.oid and alive.relname = 'alive'
  left join pg_class dead_letter on dead_letter.relnamespace = freshet.oid and dead_letter.relname = 'dead_letter'
  where me.rolname = current_user`;

/** What the role that asks may not do and has to, each with the statement that grants it. */
export async function examineRights(query: Query, question: RightsQuestion): Promise<Finding[]> {
  const facts = await askFacts<RoleFacts>(query, FACTS);
  const { role } = facts;
  if (facts.superuser) {
    return [
      note(`${role} is a superuser: it lacks no right`, {
        why: 'Far less is enough: docs/doctor.md has a role for each part.',
      }),
    ];
  }
  const found = [
    ...checkFreshet(facts, question.parts),
    ...checkReplication(facts, question),
    ...(question.parts.some(part => part !== 'connect') ? await checkTables(query, role, question) : []),
  ];
  const parts = question.parts.join(', ');
  const rest = question.parts.includes('worker') ? checkStatistics(facts) : [];
  return found.length === 0
    ? [good(`${role} may all that it has to (${parts})`), ...rest]
    : [...found, ...rest];
}

function checkFreshet(facts: RoleFacts, parts: readonly Part[]): Finding[] {
  const { role } = facts;
  const isWorker = parts.includes('worker');
  const wanted: readonly (readonly [holds: boolean, isAsked: boolean, right: string, why: string])[] = [
    [facts.schema, true, 'usage on schema freshet', 'All that Freshet keeps in the database is in it.'],
    [
      facts.readAlive,
      true,
      'select on freshet.alive',
      'Every reading statement asks which life of the database it is in.',
    ],
    [
      facts.markAlive,
      isWorker,
      'insert on freshet.alive',
      'After a crash recovery the worker marks the new life of the database.',
    ],
    [
      facts.keepDeadLetters,
      isWorker,
      'insert on freshet.dead_letter',
      'A change that cannot be read is kept there before the feed goes on.',
    ],
  ];
  if (!parts.some(part => part !== 'connect')) return [];
  return wanted
    .filter(([holds, isAsked]) => isAsked && !holds)
    .map(([, , right, why]) =>
      missing(`${role} has no ${right}`, { why, sql: [`grant ${right} to ${role}`] }),
    );
}

function checkReplication({ role, replication }: RoleFacts, { parts, feed }: RightsQuestion): Finding[] {
  const isAsked = parts.includes('connect') || (feed === 'wal' && parts.includes('worker'));
  if (replication || !isAsked) return [];
  return [
    missing(`${role} has no REPLICATION`, {
      why: 'The log is read with it. Mind what it is: through a slot such a role can read every table of the database, and it can drop any slot.',
      sql: [`alter role ${role} replication`],
    }),
  ];
}

function checkStatistics({ role, statistics }: RoleFacts): Finding[] {
  if (statistics) return [];
  return [
    note(`${role} is no member of pg_read_all_stats`, {
      why: 'When something waits for the transactions of others, `freshet status` cannot name them.',
      sql: [`grant pg_read_all_stats to ${role}`],
    }),
  ];
}

/** One privilege on one object; `columns`: on those only, null: on the whole. */
interface Need {
  readonly oid: number;
  readonly privilege: 'select' | 'insert' | 'update' | 'delete';
  readonly columns: readonly string[] | null;
  readonly table: string;
}

interface Lacking {
  /** Positions of needs. */
  readonly needs: readonly number[];
  /** As SQL names them. */
  readonly schemas: readonly string[];
  readonly sequences: readonly string[];
}

const LACKING = `
  with need as (
    select n.place, (n.value ->> 'oid')::oid as oid, n.value ->> 'privilege' as privilege, n.value -> 'columns' as columns
    from json_array_elements($1::json) with ordinality as n(value, place)
  )
  select json_build_object(
    'needs', coalesce((
      select json_agg(place - 1 order by place) from need where not case
        when json_typeof(columns) = 'null' then has_table_privilege(oid, privilege)
        else (select bool_and(has_column_privilege(need.oid, name, privilege)) from json_array_elements_text(columns) name)
      end
    ), '[]'::json),
    'schemas', coalesce((
      select json_agg(distinct quote_ident(s.nspname)) from need
      join pg_class c on c.oid = need.oid join pg_namespace s on s.oid = c.relnamespace
      where not has_schema_privilege(s.oid, 'usage')
    ), '[]'::json),
    -- Those that a column's default draws from; identity columns need no right of their own.
    'sequences', coalesce((
      select json_agg(distinct format('%I.%I', n.nspname, q.relname)) from need
      join pg_attrdef d on d.adrelid = need.oid
      join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
      join pg_class q on q.oid = p.refobjid and q.relkind = 'S'
      join pg_namespace n on n.oid = q.relnamespace
      where need.privilege = 'insert' and not has_sequence_privilege(q.oid, 'usage')
    ), '[]'::json)
  )::text as facts`;

async function checkTables(query: Query, role: string, question: RightsQuestion): Promise<Finding[]> {
  const needs = question.resources.flatMap(resource => needsOf(resource, question.parts.includes('api')));
  if (needs.length === 0) return [];
  const lacking = await askFacts<Lacking>(query, LACKING, [JSON.stringify(needs)]);
  const grants = lacking.needs.map(place => grantOf(needs[place]!));
  const rights = [
    ...lacking.schemas.map(schema => `usage on schema ${schema}`),
    ...grants,
    ...lacking.sequences.map(sequence => `usage on sequence ${sequence}`),
  ];
  return [...new Set(rights)].map(right =>
    missing(`${role} has no ${right}`, { sql: [`grant ${right} to ${role}`] }),
  );
}

/** Reading takes the row's xmin besides what is shown; writing takes the columns that a request may set. */
function needsOf(resource: Resource, isApi: boolean): Need[] {
  const { table, columns, readOnly, write } = resource;
  const of = { oid: table.oid, table: quoteTable(table) };
  const shown = new Set([...table.key, ...columns].map(({ name }) => name));
  if (resource.versionColumn !== null) shown.add(resource.versionColumn);
  const isWhole = table.columns.every(({ name }) => shown.has(name));
  const needs: Need[] = [{ ...of, privilege: 'select', columns: isWhole ? null : [...shown, 'xmin'] }];
  if (!isApi || write === false) return needs;
  const settable = columns.map(({ name }) => name).filter(name => !readOnly.has(name));
  const set = settable.length === table.columns.length ? null : settable;
  return [
    ...needs,
    { ...of, privilege: 'insert', columns: set },
    { ...of, privilege: 'update', columns: set },
    { ...of, privilege: 'delete', columns: null },
  ];
}

const grantOf = ({ privilege, columns, table }: Need): string =>
  `${privilege}${columns === null ? '' : ` (${columns.map(quoteIdentifier).join(', ')})`} on ${table}`;
