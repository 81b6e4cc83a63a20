import { readFileSync } from 'node:fs';
import type pg from 'pg';
import { readSettings, withoutPassword } from '../shared/config.ts';
import { describe, FreshetError } from '../shared/errors.ts';
import { identifySystem } from '../shared/origin/adopt.ts';
import { findBlockers } from '../shared/origin/blockers.ts';
import type { Finding } from '../shared/origin/examine/finding.ts';
import { examineTableRights, type Part } from '../shared/origin/examine/rights.ts';
import type { Query } from '../shared/resources/introspect.ts';
import { type Call, type Command, exitCode } from './command.ts';
import { type DatabaseQuestion, examineDatabase } from './doctor/database.ts';
import { lacksOf } from './doctor/group.ts';
import { wrapped } from './doctor/report.ts';
import { targetsOf } from './doctor/targets.ts';
import { partsNamed } from './doctor.ts';
import { withClient } from './local/database.ts';

const rolesFile = new URL('../connectors/roles.sql', import.meta.url);

interface Roles {
  readonly name: string;
  readonly parts: readonly Part[];
}

const ROLES: readonly Roles[] = [
  { name: 'freshet_api', parts: ['api'] },
  { name: 'freshet_worker', parts: ['worker'] },
];

/** What the database lacks, and with `--roles` what the roles lack on its tables. */
interface Plan {
  readonly lacks: readonly Finding[];
  readonly grants: readonly Finding[];
}

async function plan(client: pg.Client, question: DatabaseQuestion, withRoles: boolean): Promise<Plan> {
  const { groups, resources } = await examineDatabase(client, question);
  const query: Query = (sql, params = []) => client.query(sql, params);
  const grants: Finding[] = [];
  for (const { name, parts } of withRoles ? ROLES : [])
    grants.push(...(await examineTableRights(query, { parts, resources, role: name })));
  return { lacks: lacksOf(groups), grants };
}

const comment = (text: string): string[] => wrapped(text, 110).map(line => `-- ${line}`);

function findingLines({ what, why, sql, mend }: Finding): string[] {
  const texts = [what, ...(why === null ? [] : [why]), ...(mend === null ? [] : [mend])];
  return ['', ...texts.flatMap(comment), ...sql.map(statement => `${statement};`)];
}

function printScript({ lacks, grants }: Plan, database: string, withRoles: boolean, print: Call['print']) {
  for (const line of comment(
    `What ${database} lacks for Freshet. Run it there as a role that may (psql reads it as it is).`,
  ))
    print(line);
  if (lacks.length === 0) for (const line of ['', '-- Nothing is missing.']) print(line);
  for (const line of lacks.flatMap(findingLines)) print(line);
  if (!withRoles) return;
  for (const line of ['', readFileSync(rolesFile, 'utf8').trimEnd()]) print(line);
  if (grants.length > 0) for (const line of ['', '-- The tables that are served.', '']) print(line);
  for (const { sql } of grants) for (const statement of sql) print(`${statement};`);
}

/** How long a statement may take before it is told whom it waits for. */
const TELL_AFTER_MS = 2_000;

interface Statement {
  readonly text: string;
  /** What is printed of it. */
  readonly shown: string;
}

const asStatement = (text: string): Statement => ({ text, shown: text.split('\n', 1)[0]! });

/** Runs one statement, as far as the server lets us, and prints how it went. */
async function run(client: pg.Client, url: string, { text, shown }: Statement, print: Call['print']) {
  const timer = setTimeout(() => void tellBlockers(url, print), TELL_AFTER_MS);
  try {
    await client.query(text);
    print(`ran      ${shown}`);
  } catch (error) {
    print(`REFUSED  ${shown}\n         ${describe(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

async function tellBlockers(url: string, print: Call['print']): Promise<void> {
  const blockers = await withClient(url, client => findBlockers(client, null)).catch(() => []);
  print('waits for the transactions that are writing now:');
  for (const { pid, database, ageSeconds, query } of blockers)
    print(`  process ${pid} of Postgres (database ${database}, ${ageSeconds} s): ${query}`);
}

interface Appliance {
  readonly question: DatabaseQuestion;
  /** With whose rights the statements are run. */
  readonly adminUrl: string;
  readonly withRoles: boolean;
  readonly print: Call['print'];
}

/** Mends, looks again, and mends what shows only then; what was refused once is not tried again. */
async function apply({ question, adminUrl, withRoles, print }: Appliance): Promise<number> {
  const { databaseUrl } = question.targets;
  await checkSameDatabase(databaseUrl, adminUrl);
  const tried = new Set<string>();
  return withClient(adminUrl, async admin => {
    if (withRoles) {
      const text = readFileSync(rolesFile, 'utf8');
      await run(admin, adminUrl, { text, shown: 'connectors/roles.sql' }, print);
    }
    for (;;) {
      const { lacks, grants } = await withClient(databaseUrl, client => plan(client, question, withRoles));
      const left = [...lacks, ...grants].flatMap(({ sql }) => sql).filter(one => !tried.has(one));
      if (left.length === 0) return conclude([...lacks, ...grants], print);
      for (const statement of left) {
        tried.add(statement);
        await run(admin, adminUrl, asStatement(statement), print);
      }
    }
  });
}

function conclude(lacks: readonly Finding[], print: Call['print']): number {
  if (lacks.length === 0) {
    print('Nothing is missing.');
    return exitCode.good;
  }
  print('\nStill missing:');
  for (const { what, mend } of lacks) print(`- ${what}${mend === null ? '' : `\n  ${mend}`}`);
  return exitCode.databaseNotPrepared;
}

async function checkSameDatabase(databaseUrl: string, adminUrl: string): Promise<void> {
  if (databaseUrl === adminUrl) return;
  const [served, admin] = await Promise.all(
    [databaseUrl, adminUrl].map(url => withClient(url, identifySystem)),
  );
  if (served!.id === admin!.id && served!.database === admin!.database) return;
  throw new FreshetError({
    code: 'bad-option',
    message: `--admin-url leads to database ${admin!.database} of system ${admin!.id}, DATABASE_URL to ${served!.database} of ${served!.id}`,
    hint: 'Both must name the same database; only the role differs.',
  });
}

/** Prints the SQL that mends what the database lacks; with `--apply` it runs it. */
export const command: Command = {
  usage:
    '[--apply [--admin-url <url>]] [--roles] [--as api|worker|connect]    --roles: also a role for each part; --admin-url: run it as somebody else',
  options: {
    apply: { type: 'boolean' },
    roles: { type: 'boolean' },
    'admin-url': { type: 'string' },
    as: { type: 'string' },
  },
  async run({ options, env, print }) {
    const settings = readSettings(env);
    const targets = targetsOf(settings);
    const question = { settings, targets, parts: partsNamed(options.as) };
    const withRoles = options.roles === true;
    if (options.apply) {
      const adminUrl = String(options['admin-url'] ?? targets.databaseUrl);
      return apply({ question, adminUrl, withRoles, print });
    }
    const found = await withClient(targets.databaseUrl, client => plan(client, question, withRoles));
    printScript(found, withoutPassword(targets.databaseUrl), withRoles, print);
    return exitCode.good;
  },
};
