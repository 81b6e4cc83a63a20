import type { Query } from '../../resources/introspect.ts';

/**
 * What was found where one looked: it is as it should be, it works but somebody should know of it, or Freshet (or
 * somebody because of Freshet) cannot work with it.
 */
export interface Finding {
  readonly level: 'good' | 'note' | 'missing';
  readonly what: string;
  /** Why it matters; null where that goes without saying. */
  readonly why: string | null;
  /** Statements that mend it, in their order, each to be run by itself; none where no statement can. */
  readonly sql: readonly string[];
  /** What is to be done besides, or instead, as one would tell a colleague. */
  readonly mend: string | null;
}

type Rest = Partial<Omit<Finding, 'level' | 'what'>>;

const finding = (level: Finding['level'], what: string, rest: Rest): Finding => ({
  level,
  what,
  why: null,
  sql: [],
  mend: null,
  ...rest,
});

export const good = (what: string): Finding => finding('good', what, {});
export const note = (what: string, rest: Rest = {}): Finding => finding('note', what, rest);
export const missing = (what: string, rest: Rest = {}): Finding => finding('missing', what, rest);

/** The one row of `sql`, a JSON object in column `facts`: no parser of any client has a say in it. */
export async function askFacts<T>(query: Query, sql: string, params: unknown[] = []): Promise<T> {
  const { rows } = await query(sql, params);
  return JSON.parse(rows[0]!.facts as string) as T;
}
