import type { Group } from '../../cli/doctor/group.ts';
import type { Finding } from '../../shared/origin/examine/finding.ts';
import type { Said } from './cli.ts';
import { runCli } from './run-cli.ts';

export interface Diagnosis {
  readonly code: number;
  readonly groups: readonly Group[];
  /** Of level `missing`. */
  readonly lacks: readonly Finding[];
  /** All else that is not simply good. */
  readonly notes: readonly Finding[];
}

/** `freshet doctor --json` and what it says. */
export async function diagnose(
  env: Readonly<Record<string, string>>,
  ...words: readonly string[]
): Promise<Diagnosis> {
  const said: Said = await runCli(['doctor', '--json', ...words], env);
  let answer: { groups: Group[] };
  try {
    answer = JSON.parse(said.text) as { groups: Group[] };
  } catch {
    throw new Error(`doctor ended with ${said.code} and printed:\n${said.text}`);
  }
  const findings = answer.groups.flatMap(group => group.findings);
  return {
    code: said.code,
    groups: answer.groups,
    lacks: findings.filter(({ level }) => level === 'missing'),
    notes: findings.filter(({ level }) => level === 'note'),
  };
}

export const whatIn = (findings: readonly Finding[]): string[] => findings.map(({ what }) => what);

/** The statements of a script as psql would take them one by one. */
export function statementsOf(script: string): string[] {
  const statements: string[] = [];
  let pending = '';
  for (const line of script.split('\n').filter(one => !one.startsWith('--'))) {
    pending += `${line}\n`;
    const isWhole = line.trimEnd().endsWith(';') && (pending.match(/\$\$/g)?.length ?? 0) % 2 === 0;
    if (!isWhole) continue;
    statements.push(pending.trim());
    pending = '';
  }
  return statements.filter(statement => statement !== '');
}
