import type pg from 'pg';
import type { Clock } from '../clock.ts';
import { FreshetError } from '../errors.ts';
import type { Column, Resource, TableShape } from '../resources/resource.ts';
import { TABLE_DIGESTS } from './digest.ts';
import { originError } from './pool.ts';
import { digestParameters, parseDigests } from './probe.ts';
import { quoteIdentifier, quoteTable } from './quote.ts';

/** A row together with the snapshot of the very statement that read it. */
export interface RowReading {
  /** The exposed columns as Postgres prints them; null when there is no such row. */
  readonly texts: readonly (string | null)[] | null;
  /** The row's xmin, 32 bits, as printed; empty without a row. */
  readonly rowXmin: string;
  /** `pg_current_snapshot()` of the statement. */
  readonly snapshot: string;
  /** Null when the database lost its marker: nothing read now may be cached. */
  readonly incarnation: string | null;
  /** Monotonic milliseconds just before the statement was sent. */
  readonly sentAtMs: number;
}

const FIXED_COLUMNS = 3;
/** Undefined column or table, and a prepared plan whose result type changed under it. */
const DEFINITION_CHANGED = new Set(['42703', '42P01', '0A000', '42883', '42704']);

const definitionChanged = (resource: Resource, detail: string, cause?: unknown): FreshetError =>
  new FreshetError({
    code: 'definition-changed',
    message: `table ${resource.table.qualified} is no longer as it was when "${resource.name}" was set up: ${detail}`,
    hint: 'The definition is read again by itself; if this stays, adjust the resource or restart.',
    retryable: true,
    cause,
  });

/**
 * The reading statement of the protocol: `left join`ed to a constant, so that an absent row still brings its
 * snapshot, and run on the primary in a transaction without an xid of its own (read pools are read-only).
 * @throws FreshetError: `definition-changed`, or as `originError` says.
 */
export async function readRow(
  pool: pg.Pool,
  resource: Resource,
  key: readonly string[],
  clock: Clock,
): Promise<RowReading> {
  const { statement, columns } = rowStatement(resource);
  const sentAtMs = clock.monotonicMs();
  let result: pg.QueryArrayResult<(string | null)[]>;
  try {
    result = await pool.query({ ...statement, values: [...key], rowMode: 'array' });
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    if (DEFINITION_CHANGED.has(code)) {
      forget(resource);
      throw definitionChanged(resource, error instanceof Error ? error.message : String(error), error);
    }
    throw originError(`reading ${resource.table.qualified}`, error);
  }
  columns.forEach((column, i) => {
    if (result.fields[FIXED_COLUMNS + i]!.dataTypeID === column.typeOid) return;
    forget(resource);
    throw definitionChanged(resource, `column ${column.name} is not ${column.type} any more`);
  });
  const row = result.rows[0]!;
  const found = row[2] !== null;
  return {
    texts: found ? row.slice(FIXED_COLUMNS) : null,
    rowXmin: row[2] ?? '',
    snapshot: row[0]!,
    incarnation: row[1]!,
    sentAtMs,
  };
}

interface RowStatement {
  readonly statement: { name: string; text: string };
  readonly columns: readonly Column[];
}

const statements = new WeakMap<Resource, RowStatement>();
let statementNumber = 0;

function rowStatement(resource: Resource): RowStatement {
  let made = statements.get(resource);
  if (!made) {
    const { table, columns } = resource;
    const list = columns.map(column => `t.${quoteIdentifier(column.name)}`).join(', ');
    const text = `select pg_current_snapshot()::text, (select incarnation::text from freshet.alive), t.xmin::text, ${list}
      from (select 1) one left join ${quoteTable(table)} t on ${keyCondition(table, 't')}`;
    // A name is never used for two texts: a pooled connection remembers what it has prepared under it.
    statementNumber += 1;
    made = {
      statement: { name: `freshet row ${resource.name} ${statementNumber}`.slice(-60), text },
      columns,
    };
    statements.set(resource, made);
  }
  return made;
}

/** The next reading prepares its statement anew, under another name. */
const forget = (resource: Resource): void => void statements.delete(resource);

/** `t."a" = $1 and …`: each parameter takes its type from the column, and the key's printed text as value. */
export const keyCondition = (table: TableShape, alias: string, first = 1): string =>
  table.key.map((column, i) => `${alias}.${quoteIdentifier(column.name)} = $${first + i}`).join(' and ');

/** What GUARDED asks of the primary for one table and many rows: is what was cached still what is there? */
export interface RowCheck {
  readonly incarnation: string | null;
  readonly digest: string | null;
  /** By position of the key in the question; null: no such row. */
  readonly xmins: readonly (string | null)[];
  readonly sentAtMs: number;
}

/** One statement for many keys of a table: each row's xmin, the incarnation, the table's digest. */
export async function checkRows(
  pool: pg.Pool,
  table: TableShape,
  keys: readonly (readonly string[])[],
  clock: Clock,
): Promise<RowCheck> {
  const names = table.key.map((_, i) => `k${i}`);
  const arrays = table.key.map((column, i) => `$${i + 4}::${column.baseType}[]`);
  const text = `
    select (select incarnation::text from freshet.alive) as incarnation,
           ${TABLE_DIGESTS} as digests,
           array(
             select t.xmin::text from unnest(${arrays.join(', ')}) with ordinality as asked(${names.join(', ')}, place)
             left join ${quoteTable(table)} t on ${table.key.map((column, i) => `t.${quoteIdentifier(column.name)} = asked.k${i}`).join(' and ')}
             order by place
           )::text as xmins`;
  const sentAtMs = clock.monotonicMs();
  try {
    const { rows } = await pool.query({
      text,
      values: [...digestParameters([table]), ...table.key.map((_, i) => keys.map(key => key[i]!))],
    });
    const row = rows[0] as { incarnation: string | null; digests: string | null; xmins: string };
    const xmins = row.xmins
      .slice(1, -1)
      .split(',')
      .map(text => (text === 'NULL' ? null : text));
    return {
      incarnation: row.incarnation,
      digest: parseDigests(row.digests).get(table.qualified) ?? null,
      xmins,
      sentAtMs,
    };
  } catch (error) {
    throw originError(`checking rows of ${table.qualified}`, error);
  }
}
