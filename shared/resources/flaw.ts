/** One reason why a resource cannot be served, and what mends it. */
export interface Flaw {
  readonly expected: string;
  readonly came: string;
  /** SQL, ready to run, or the edit of the configuration. */
  readonly mend: string;
}

/** A flaw with its place. */
export interface Failure extends Flaw {
  readonly resource: string;
  /** As it was declared. */
  readonly table: string;
}

export const failureText = ({ resource, table, expected, came, mend }: Failure): string =>
  `${resource} (table ${table}): expected ${expected}, found ${came}\n      ${mend}`;

/** The statement that mends it; null where only an edit does, or something has to be filled in first. */
export const sqlOf = ({ mend }: Flaw): string | null =>
  mend.endsWith(';') && !mend.includes('…') ? mend.slice(0, -1) : null;
