import { describe, FreshetError } from '../../shared/errors.ts';
import { type Finding, missing } from '../../shared/origin/examine/finding.ts';

/** What was found in one place. */
export interface Group {
  readonly name: string;
  readonly findings: readonly Finding[];
}

/** Looks in one place. Trouble there is something found, and no reason to leave out the other places. */
export async function lookAt(name: string, look: () => Promise<readonly Finding[]>): Promise<Group> {
  try {
    return { name, findings: await look() };
  } catch (error) {
    const { message, hint } =
      error instanceof FreshetError ? error : { message: describe(error), hint: undefined };
    return { name, findings: [missing(message, { mend: hint ?? null })] };
  }
}

export const lacksOf = (groups: readonly Group[]): Finding[] =>
  groups.flatMap(({ findings }) => findings.filter(({ level }) => level === 'missing'));
