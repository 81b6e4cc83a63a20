import type { Command } from '../../cli/command.ts';
import type { Group } from '../../cli/doctor/group.ts';
import { command as doctor } from '../../cli/doctor.ts';
import { command as init } from '../../cli/init.ts';
import type { Finding } from '../../shared/origin/examine/finding.ts';
import type { Said } from './cli.ts';

type Options = Parameters<Command['run']>[0]['options'];
type Env = Readonly<Record<string, string>>;

/** A command in this process: most of what is asked here needs no process of its own. */
async function runHere(command: Command, options: Options, env: Env): Promise<Said> {
  const lines: string[] = [];
  const code = await command.run({
    words: [],
    options,
    env: { FRESHET_CONFIG: 'none', ...env },
    sourceOf: () => 'environment',
    print: line => lines.push(line),
  });
  return { code, text: `${lines.join('\n')}\n` };
}

export const runInit = (env: Env, options: Options): Promise<Said> => runHere(init, options, env);

export interface Diagnosis {
  readonly code: number;
  readonly groups: readonly Group[];
  /** Of level `missing`. */
  readonly lacks: readonly Finding[];
  readonly notes: readonly Finding[];
}

/** What `freshet doctor --json` says. */
export async function diagnose(env: Env, options: Options = {}): Promise<Diagnosis> {
  const { code, text } = await runHere(doctor, { json: true, ...options }, env);
  const { groups } = JSON.parse(text) as { groups: Group[] };
  const findings = groups.flatMap(group => group.findings);
  return {
    code,
    groups,
    lacks: findings.filter(({ level }) => level === 'missing'),
    notes: findings.filter(({ level }) => level === 'note'),
  };
}

export const whatIn = (findings: readonly Finding[]): string[] => findings.map(({ what }) => what);

/** The statements of a script as psql would take them, one by one. */
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
  return statements;
}
