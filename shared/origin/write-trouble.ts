import pg from 'pg';
import { FreshetError, type Trouble } from '../errors.ts';
import type { Column, Resource } from '../resources/resource.ts';
import { originError } from './pool.ts';
import { sqlStateOf } from './transaction.ts';

/** The statement that failed, as far as naming the culprit needs it. */
export interface Attempt {
  readonly resource: Resource;
  readonly op: 'insert' | 'update' | 'delete';
  /** What each parameter stands for: `$1` first. */
  readonly parameters: readonly { readonly column: Column; readonly text: string | null }[];
}

/**
 * What a refused write means, in the caller's words: the column or the constraint is named, other rows' values are
 * not. In every case nothing was written.
 */
export function writeTrouble(error: unknown, attempt: Attempt): FreshetError {
  if (error instanceof FreshetError) return error;
  const sqlState = sqlStateOf(error);
  if (!(error instanceof pg.DatabaseError) || sqlState === null)
    return originError(`writing ${tableOf(attempt)}`, error);
  const explain = EXPLAIN[sqlState] ?? EXPLAIN[sqlState.slice(0, 2)];
  if (!explain) return originError(`writing ${tableOf(attempt)}`, error);
  return new FreshetError({ ...explain(error, attempt), cause: error });
}

type Explain = (error: pg.DatabaseError, attempt: Attempt) => Trouble;

/** By SQLSTATE, else by its class. */
const EXPLAIN: Readonly<Record<string, Explain>> = {
  '23505': (error, attempt) => ({
    code: 'unique-violation',
    message: `Another row already has this ${columnsIn(error, attempt)} (constraint ${error.constraint}).`,
    hint: 'Send another value, or change the row that has it.',
  }),
  '23503': foreignKey,
  '23001': foreignKey,
  '23502': error => ({
    code: 'not-null-violation',
    message: `Column ${error.column} needs a value, and got none.`,
    hint: `Send a value for ${error.column}.`,
  }),
  '23514': error => ({
    code: 'check-violation',
    message: `The values do not satisfy the constraint ${error.constraint ?? 'of the table'}.`,
  }),
  '23P01': error => ({
    code: 'exclusion-violation',
    message: `The row conflicts with another one (constraint ${error.constraint}).`,
  }),
  '22001': (error, attempt) => ({
    code: 'too-long',
    message: `${tooLongColumn(attempt)}: ${error.message}`,
    hint: 'Send a shorter value.',
  }),
  '22': (error, attempt) => ({
    code: 'bad-value',
    message: `${parameterIn(error, attempt)}: ${error.message}`,
    hint: 'Send the value in the form in which it is read.',
  }),
  // A tree or array that Postgres cannot hold or take apart.
  '54': (error, attempt) => ({
    code: 'bad-value',
    message: `${parameterIn(error, attempt)}: ${error.message}`,
  }),
  '428C9': error => ({
    code: 'read-only-column',
    message: `The database gives this column its values: ${error.message}.`,
    hint: "Leave it out, and list it under the resource's readOnly.",
  }),
  '42501': () => ({
    code: 'not-permitted',
    message: 'The database does not permit this write to the role that the API uses, or to this row.',
    hint: 'An operator can GRANT it, or adjust the row security policy.',
  }),
  P0001: error => ({
    code: 'refused-by-trigger',
    message: `The database refused the write: ${error.message}`,
  }),
  '25006': () => ({
    code: 'read-only-database',
    message: 'The database takes no writes: a standby, or a primary that is being replaced.',
    retryable: true,
  }),
  '57014': (_error, { resource }) => ({
    code: 'write-timeout',
    message: `The write to ${resource.name} was cancelled because it took too long; nothing was written.`,
    hint: 'Somebody may hold a lock on the row; try again.',
    retryable: true,
  }),
  '40': concurrentWrites,
  '55P03': concurrentWrites,
  '42703': definitionChanged,
  '42P01': definitionChanged,
  '42704': definitionChanged,
};

function foreignKey(error: pg.DatabaseError, attempt: Attempt): Trouble {
  const isReferenced = attempt.op === 'delete' || error.table !== attempt.resource.table.name;
  return {
    code: 'foreign-key-violation',
    message: isReferenced
      ? `Other rows still refer to this one (constraint ${error.constraint}).`
      : `The row that ${columnsIn(error, attempt)} refers to does not exist (constraint ${error.constraint}).`,
    hint: isReferenced
      ? 'Remove or change what refers to it first.'
      : 'Create what it refers to first, or send another value.',
  };
}

function concurrentWrites(_error: pg.DatabaseError, { resource }: Attempt): Trouble {
  return {
    code: 'write-conflict',
    message: `Other writes to ${resource.name} got in the way, again and again; nothing was written.`,
    hint: 'Try again.',
    retryable: true,
  };
}

function definitionChanged(error: pg.DatabaseError, { resource }: Attempt): Trouble {
  return {
    code: 'definition-changed',
    message: `Table ${resource.table.qualified} is no longer as it was when "${resource.name}" was set up: ${error.message}.`,
    hint: 'The definition is read again by itself; if this stays, adjust the resource or restart.',
    retryable: true,
  };
}

const tableOf = ({ resource }: Attempt): string => resource.table.qualified;

/** The columns in `Key (team_id, email)=(7, …) …`, as far as they are shown at all. */
function columnsIn(error: pg.DatabaseError, { resource }: Attempt): string {
  const names = /\(([^)]*)\)=\(/.exec(error.detail ?? '')?.[1]?.split(', ') ?? [];
  const shown = names.filter(name => resource.columns.some(column => column.name === name));
  return shown.length > 0 ? shown.join(', ') : 'value';
}

/**
 * Postgres says `… parameter $3 …` in the context of an error that a parameter's own text caused. What a length or
 * precision refuses is noticed later, and then only a column that has one can be meant.
 */
function parameterIn(error: pg.DatabaseError, { parameters }: Attempt): string {
  const number = /\$(\d+)/.exec(error.where ?? '')?.[1];
  const bounded = parameters.filter(({ column, text }) => text !== null && /\(\d/.test(column.type));
  const meant = number === undefined ? bounded : parameters.slice(Number(number) - 1, Number(number));
  return meant.length === 1 ? `Column ${meant[0]!.column.name}` : 'A value does not fit';
}

/** A text that is too long is noticed after the parameters were read, so Postgres names only the type. */
function tooLongColumn({ parameters }: Attempt): string {
  const culprits = parameters.filter(({ column, text }) => {
    const length = column.maxLength ?? Number(/\((\d+)\)$/.exec(column.type)?.[1]);
    return text !== null && [...text].length > length;
  });
  return culprits.length > 0
    ? `Column ${culprits.map(({ column }) => column.name).join(', ')}`
    : 'A value does not fit';
}
