import type { Query } from '../../resources/introspect.ts';
import type { Resource } from '../../resources/resource.ts';
import { askFacts, type Finding, good, missing, note } from './finding.ts';

/** Who connects with a role: the processes that answer, those that follow, and Kafka Connect. */
export type Part = 'api' | 'worker' | 'connect';

export interface RightsQuestion {
  readonly parts: readonly Part[];
  readonly feed: 'wal' | 'kafka';
  /** What is to be read and, where it is declared so, written. */
  readonly resources: readonly Resource[];
  /** Absent: the role that asks. One that is not there yet lacks everything. */
  readonly role?: string;
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
    'role', quote_ident(asked.role),
    'superuser', coalesce(me.rolsuper, false),
    -- Attributes are never inherited; some managed servers have a role for it instead.
    'replication', coalesce(me.rolreplication or me.rolsuper, false)
      or coalesce((select pg_has_role(me.oid, r.oid, 'usage') from pg_roles r where r.rolname = 'rds_replication'), false),
    'statistics', coalesce(pg_has_role(me.oid, 'pg_read_all_stats', 'usage'), false),
    'schema', coalesce(has_schema_privilege(me.oid, freshet.oid, 'usage'), false),
    'readAlive', coalesce(has_table_privilege(me.oid, alive.oid, 'select'), false),
    'markAlive', coalesce(has_table_privilege(me.oid, alive.oid, 'insert'), false),
    'keepDeadLetters', coalesce(has_table_privilege(me.oid, dead_letter.oid, 'insert'), false)
  )::text as facts
  from (select coalesce($1, current_user::text) as role) asked
  left join pg_roles me on me.rolname = asked.role
  left join pg_namespace freshet on freshet.nspname = 'freshet'
  left join pg_class alive on alive.relnamespace = freshet.oid and alive.relname = 'alive'
  left join pg_class dead_letter on dead_letter.relnamespace = freshet.oid and dead_letter.relname = 'dead_letter'`;

/** What a role may not do and has to, each with the statement that grants it. */
export async function examineRights(query: Query, question: RightsQuestion): Promise<Finding[]> {
  const facts = await askFacts<RoleFacts>(query, FACTS, [question.role ?? null]);
  const { role } = facts;
  if (facts.superuser) {
    return [
      note(`${role} is a superuser: it lacks no right`, {
        why: 'Far less is enough: docs/doctor.md has a role for each part.',
      }),
    ];
  }
  const isReader = question.parts.some(part => part !== 'connect');
  const found = [
    ...(isReader ? checkFreshet(facts, question.parts) : []),
    ...checkReplication(facts, question),
    ...(isReader ? await examineTableRights(query, question) : []),
  ];
  const rest = question.parts.includes('worker') ? checkStatistics(facts) : [];
  return found.length === 0
    ? [good(`${role} may all that it has to (${question.parts.join(', ')})`), ...rest]
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
  return wanted
    .filter(([holds, isAsked]) => isAsked && !holds)
    .map(([, , right, why]) =>
      missing(`${role} has no ${right}`, { why, sql: [`grant ${right} to ${role}`] }),
    );
}

function checkReplication({ role, replication }: RoleFacts, { parts, feed }: RightsQuestion): Finding[] {
  if (replication || !(parts.includes('connect') || parts.includes('worker'))) return [];
  const what = `${role} has no REPLICATION`;
  const mind =
    'Mind what it is: through a slot such a role can read every table of the database, and it can drop any slot.';
  const sql = [`alter role ${role} replication`];
  if (parts.includes('connect') || feed === 'wal')
    return [missing(what, { why: `The log is read with it. ${mind}`, sql })];
  return [note(what, { why: `A slot that is lost cannot be made anew by itself without it. ${mind}`, sql })];
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

/** One privilege on one table; `columns`: on those only, null: on the whole. */
interface Need {
  readonly oid: number;
  readonly privilege: 'select' | 'insert' | 'update' | 'delete';
  readonly columns: readonly string[] | null;
}

/** All names are as SQL writes them. */
interface Lacking {
  readonly role: string;
  /** `columns` null: on the whole table. */
  readonly needs: readonly {
    readonly privilege: string;
    readonly table: string;
    readonly columns: string | null;
  }[];
  readonly schemas: readonly string[];
  readonly sequences: readonly string[];
}

const LACKING = `
  with need as (
    select n.place, (n.value ->> 'oid')::oid as oid, n.value ->> 'privilege' as privilege,
           n.value -> 'columns' as columns, me.oid as role, s.oid as schema, s.nspname, c.relname
    from json_array_elements($1::json) with ordinality as n(value, place)
    join pg_class c on c.oid = (n.value ->> 'oid')::oid
    join pg_namespace s on s.oid = c.relnamespace
    left join pg_roles me on me.rolname = coalesce($2, current_user::text)
  )
  select json_build_object(
    'role', quote_ident(coalesce($2, current_user::text)),
    'needs', coalesce((
      select json_agg(json_build_object(
        'privilege', privilege, 'table', format('%I.%I', nspname, relname), 'columns', case
          when json_typeof(columns) <> 'null'
          then (select string_agg(quote_ident(name), ', ') from json_array_elements_text(columns) name)
        end
      ) order by place)
      from need where not coalesce(case
        when json_typeof(columns) = 'null' then has_table_privilege(role, oid, privilege)
        else (
          select bool_and(has_column_privilege(need.role, need.oid, name, privilege))
          from json_array_elements_text(columns) name
        )
      end, false)
    ), '[]'::json),
    'schemas', coalesce((
      select json_agg(distinct quote_ident(nspname)) from need
      where not coalesce(has_schema_privilege(role, schema, 'usage'), false)
    ), '[]'::json),
    -- Those that a column's default draws from; identity columns need no right of their own.
    'sequences', coalesce((
      select json_agg(distinct format('%I.%I', n.nspname, q.relname)) from need
      join pg_attrdef d on d.adrelid = need.oid
      join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
      join pg_class q on q.oid = p.refobjid and q.relkind = 'S'
      join pg_namespace n on n.oid = q.relnamespace
      where need.privilege = 'insert' and not coalesce(has_sequence_privilege(need.role, q.oid, 'usage'), false)
    ), '[]'::json)
  )::text as facts`;

/** What a role lacks on the tables alone. */
export async function examineTableRights(
  query: Query,
  { resources, parts, role = null }: Pick<RightsQuestion, 'resources' | 'parts'> & { role?: string | null },
): Promise<Finding[]> {
  const needs = resources.flatMap(resource => needsOf(resource, parts.includes('api')));
  if (needs.length === 0) return [];
  const lacking = await askFacts<Lacking>(query, LACKING, [JSON.stringify(needs), role]);
  const rights = [
    ...lacking.schemas.map(schema => `usage on schema ${schema}`),
    ...lacking.needs.map(
      ({ privilege, table, columns }) => `${privilege}${columns === null ? '' : ` (${columns})`} on ${table}`,
    ),
    ...lacking.sequences.map(sequence => `usage on sequence ${sequence}`),
  ];
  return [...new Set(rights)].map(right =>
    missing(`${lacking.role} has no ${right}`, { sql: [`grant ${right} to ${lacking.role}`] }),
  );
}

/** Reading takes the row's xmin besides what is shown; writing takes the columns that a request may set. */
function needsOf(resource: Resource, isApi: boolean): Need[] {
  const { table, columns, readOnly, write, versionColumn } = resource;
  const { oid } = table;
  const shown = new Set([...table.key, ...columns].map(({ name }) => name));
  if (versionColumn !== null) shown.add(versionColumn);
  const isWhole = table.columns.every(({ name }) => shown.has(name));
  const needs: Need[] = [{ oid, privilege: 'select', columns: isWhole ? null : [...shown, 'xmin'] }];
  if (!isApi || write === false) return needs;
  const settable = columns.map(({ name }) => name).filter(name => !readOnly.has(name));
  const set = settable.length === 0 || settable.length === table.columns.length ? null : settable;
  return [
    ...needs,
    { oid, privilege: 'insert', columns: set },
    { oid, privilege: 'update', columns: set },
    { oid, privilege: 'delete', columns: null },
  ];
}
