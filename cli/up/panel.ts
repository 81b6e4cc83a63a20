import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Settings, withoutPassword } from '../../shared/config.ts';
import type { RunRecord } from '../data-folder.ts';

export interface PanelFacts {
  readonly run: RunRecord;
  readonly settings: Settings;
  readonly tookMs: number;
  readonly path: string;
}

const demoRow = '/cities/2988507';
const demoEdit = 'UPDATE cities SET population = population + 1 WHERE id = 2988507';

function isOnPath(program: string, path: string): boolean {
  return path.split(delimiter).some(folder => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });
}

/** What to try: a miss, a hit, an edit past the API, and the read that shows it. */
function tryLines({ run, settings, path }: PanelFacts): string[] {
  if (settings.databaseUrl !== null) {
    return ['Try:', `  curl -i ${run.api}/<resource>/<key>      twice, and look at Cache-Status and ETag`];
  }
  const get = `curl -i ${run.api}${demoRow}`;
  const edit = isOnPath('psql', path)
    ? `psql "${run.databaseUrl}" -c "${demoEdit}"`
    : `npm run -s freshet sql "${demoEdit}"`;
  return [
    'Try, and look at Cache-Status and ETag:',
    `  ${get}      Paris: read from Postgres, unless it was popular before`,
    `  ${get}      the same: a hit`,
    `  ${edit}`,
    `  ${get}      the edit is there`,
  ];
}

/** The lines that end a start. */
export function panel(facts: PanelFacts): string[] {
  const { run, settings, tookMs } = facts;
  const { kafkaBrokers, connectUrl } = run;
  const count = (number: number, one: string, more: string): string =>
    `${number} ${number === 1 ? one : more}`;
  const workers = count(run.pids.workers.length, 'worker', 'workers');
  const own = (isOwn: boolean): string => (isOwn ? 'yours' : 'local');
  const rows: (readonly [string, string, string])[] = [
    ['API', run.api, count(run.pids.api.length, 'process', 'processes')],
    ['console', run.console, 'metrics of the API, queues'],
    [
      'database',
      withoutPassword(run.databaseUrl),
      `${own(settings.databaseUrl !== null)}, feed ${run.feed}, ${workers}`,
    ],
    ...(kafkaBrokers ? [['Kafka', kafkaBrokers, own(settings.kafkaBrokers !== null)] as const] : []),
    ...(connectUrl
      ? [['Kafka Connect', withoutPassword(connectUrl), own(settings.kafkaBrokers !== null)] as const]
      : []),
    ['cache Redis', withoutPassword(run.cacheRedisUrl), own(settings.redisUrl !== null)],
    ['queue Redis', withoutPassword(run.queueRedisUrl), own(settings.queueRedisUrl !== null)],
  ];
  const widths = [0, 1].map(column => Math.max(...rows.map(row => row[column]!.length)));
  return [
    '',
    `Freshet is up (${(tookMs / 1000).toFixed(2)} s)`,
    '',
    ...rows.map(
      ([name, where, what]) => `  ${name.padEnd(widths[0]!)}  ${where.padEnd(widths[1]!)}  ${what}`,
    ),
    '',
    ...tryLines(facts),
    '',
    `Ctrl-C stops everything. The data stays in ${settings.dataDir} until \`npm run reset\`.`,
  ];
}
