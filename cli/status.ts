import type { ProcessRecord } from '../shared/cache/store.ts';
import { readSettings, withoutPassword } from '../shared/config.ts';
import { describe } from '../shared/errors.ts';
import type { Blocker } from '../shared/observe.ts';
import { identifySystem, namespaceOf } from '../shared/origin/adopt.ts';
import { type Command, exitCode } from './command.ts';
import { type Installation, installationOf } from './installation.ts';
import { withClient } from './local/database.ts';
import { openProcessStatus } from './process-status.ts';

async function readProcesses(
  { databaseUrl, cacheRedisUrl }: Installation,
  namespace: string | null,
): Promise<ProcessRecord[]> {
  const system = await withClient(databaseUrl, identifySystem);
  const status = openProcessStatus(cacheRedisUrl, namespaceOf(system, namespace));
  try {
    return await status.read();
  } finally {
    await status.close();
  }
}

const blockerLine = ({ pid, database, ageSeconds, query }: Blocker): string =>
  `          waits for process ${pid} of Postgres (database ${database}, ${Math.round(ageSeconds)} s): ${query}`;

function placeLines({ databaseUrl, run }: Installation): string[] {
  if (run === null) return [`database  ${withoutPassword(databaseUrl)}`];
  return [
    `API       ${run.api}`,
    `console   ${run.console}`,
    `database  ${withoutPassword(databaseUrl)}, feed ${run.feed}`,
    ...(run.kafkaBrokers === undefined ? [] : [`Kafka     ${run.kafkaBrokers}`]),
    ...(run.connectUrl === undefined ? [] : [`Connect   ${withoutPassword(run.connectUrl)}`]),
  ];
}

function processLines({
  role,
  mode,
  proofAgeMs,
  gap,
  waitingFor,
  trouble,
  partitions,
  feed,
}: ProcessRecord): string[] {
  const proof = proofAgeMs === null ? null : `proof ${Math.round(proofAgeMs)} ms old`;
  const share = feed === 'kafka' && partitions?.length ? `follows partition ${partitions.join(', ')}` : null;
  const facts = [mode, proof, share, typeof gap === 'string' ? `gap: ${gap}` : null, trouble].filter(Boolean);
  const blockers = Array.isArray(waitingFor) ? (waitingFor as Blocker[]) : [];
  return [`${role.padEnd(8)}  ${facts.join(', ') || 'runs'}`, ...blockers.map(blockerLine)];
}

/** What runs, and how fresh it is; while a barrier waits, the transactions it waits for. */
export const command: Command = {
  usage: '[--json]',
  options: { json: { type: 'boolean' } },
  async run({ options, env, print }) {
    const settings = readSettings(env);
    const installation = installationOf(settings);
    const { run } = installation;
    let processes: ProcessRecord[] = [];
    let trouble: string | null = null;
    try {
      processes = await readProcesses(installation, settings.namespace);
    } catch (error) {
      trouble = describe(error);
    }
    if (options.json) {
      print(JSON.stringify({ run, processes, trouble }, null, 2));
    } else {
      for (const line of placeLines(installation)) print(line);
      for (const line of processes.flatMap(processLines)) print(line);
      if (trouble !== null) print(`The processes could not be asked: ${trouble}`);
      else if (processes.length === 0) print('No process has reported within five seconds.');
    }
    return trouble === null ? exitCode.good : exitCode.trouble;
  },
};
