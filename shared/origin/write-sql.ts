import type { Column, Resource } from '../resources/resource.ts';
import { quoteIdentifier, quoteTable } from './quote.ts';
import { keyCondition } from './read.ts';

/** In place of a text: what the column has when nobody names it; NULL where it has no default. */
export const DEFAULT = Symbol('DEFAULT');

/** Name of a column → its new value as text, in any order. */
export type Assignments = ReadonlyMap<string, string | null | typeof DEFAULT>;

/** Each returns the representation's columns, the key's, and the transaction's 64-bit id, in this order. */
export interface WriteStatement {
  readonly text: string;
  readonly values: unknown[];
  /** What each parameter stands for; those of a guard come after them. */
  readonly parameters: { readonly column: Column; readonly text: string | null }[];
}

/** Which row, and, where `versions` is given, in which version. */
export interface Aim {
  readonly resource: Resource;
  readonly key: readonly string[];
  readonly versions: readonly string[] | null;
}

export function insertStatement(
  resource: Resource,
  assignments: Assignments,
  onlyNew: boolean,
): WriteStatement {
  const { table } = resource;
  const statement = emptyStatement();
  const names = [...assignments.keys()].map(quoteIdentifier);
  const values = [...assignments].map(([name, value]) =>
    place(statement, columnNamed(resource, name), value),
  );
  const source =
    names.length === 0 ? 'default values' : `(${names.join(', ')}) values (${values.join(', ')})`;
  const key = table.key.map(column => quoteIdentifier(column.name)).join(', ');
  // Waits for a creator that is under way, and then leaves its row alone. Other unique constraints stay errors.
  const conflict = onlyNew ? ` on conflict (${key}) do nothing` : '';
  return {
    ...statement,
    text: `insert into ${quoteTable(table)} as t ${source}${conflict} returning ${outputs(resource)}`,
  };
}

export function updateStatement(aim: Aim, assignments: Assignments): WriteStatement {
  // Nothing to set, but the row still has to be there, in this version, until the answer is known.
  if (assignments.size === 0) return lockStatement(aim, 'for no key update');
  const { statement, condition } = aimAt(aim);
  const sets = [...assignments].map(
    ([name, value]) =>
      `${quoteIdentifier(name)} = ${place(statement, columnNamed(aim.resource, name), value)}`,
  );
  return {
    ...statement,
    text: `update ${quoteTable(aim.resource.table)} as t set ${sets.join(', ')} where ${condition} returning ${outputs(aim.resource)}`,
  };
}

export function deleteStatement(aim: Aim): WriteStatement {
  const { statement, condition } = aimAt(aim);
  return {
    ...statement,
    text: `delete from ${quoteTable(aim.resource.table)} as t where ${condition} returning ${outputs(aim.resource)}`,
  };
}

/** `lock` empty: the row as the statement sees it, without waiting for anybody. */
export function lockStatement(aim: Aim, lock: 'for update' | 'for no key update' | ''): WriteStatement {
  const { statement, condition } = aimAt(aim);
  return {
    ...statement,
    text: `select ${outputs(aim.resource)} from ${quoteTable(aim.resource.table)} as t where ${condition} ${lock}`,
  };
}

const emptyStatement = (): WriteStatement => ({ text: '', values: [], parameters: [] });

/** The key's parameters come first, then the versions; what is set comes after both. */
function aimAt({ resource, key, versions }: Aim): { statement: WriteStatement; condition: string } {
  const { table, versionColumn } = resource;
  const statement = emptyStatement();
  for (const [i, column] of table.key.entries()) place(statement, column, key[i]!);
  let condition = keyCondition(table, 't');
  if (versions !== null) {
    const column = columnNamed(resource, versionColumn!);
    statement.values.push(versions);
    statement.parameters.push({ column, text: null });
    condition += ` and t.${quoteIdentifier(column.name)}::text = any($${statement.values.length}::text[])`;
  }
  return { statement, condition };
}

const columnNamed = ({ table }: Resource, name: string): Column =>
  table.columns.find(column => column.name === name)!;

/** A parameter takes its type from the column it is written to: no cast, hence no silent cutting to a length. */
function place(
  { values, parameters }: WriteStatement,
  column: Column,
  value: string | null | typeof DEFAULT,
): string {
  if (value === DEFAULT) return 'default';
  values.push(value);
  parameters.push({ column, text: value });
  return `$${values.length}`;
}

/** Columns by themselves, never cast: a cast prints some types in another way than reads do. */
const outputs = ({ columns, table }: Resource): string =>
  [...columns, ...table.key]
    .map(column => `t.${quoteIdentifier(column.name)}`)
    .concat('pg_current_xact_id()::text')
    .join(', ');
