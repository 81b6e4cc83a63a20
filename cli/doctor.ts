import { readSettings, withoutPassword } from '../shared/config.ts';
import { FreshetError } from '../shared/errors.ts';
import type { Part } from '../shared/origin/examine/rights.ts';
import { type Command, exitCode } from './command.ts';
import { examineDatabase } from './doctor/database.ts';
import { lacksOf } from './doctor/group.ts';
import { examineKafka } from './doctor/kafka.ts';
import { examineRedis } from './doctor/redis.ts';
import { reportLines } from './doctor/report.ts';
import { targetsOf } from './doctor/targets.ts';
import { withClient } from './local/database.ts';

/** `up` gives one role to the API and the workers. */
const PARTS: Readonly<Record<string, readonly Part[]>> = {
  all: ['api', 'worker'],
  api: ['api'],
  worker: ['worker'],
  connect: ['connect'],
};

/** @throws FreshetError `bad-option`. */
export function partsNamed(option: string | boolean | undefined): readonly Part[] {
  const parts = PARTS[String(option ?? 'all')];
  if (parts) return parts;
  throw new FreshetError({
    code: 'bad-option',
    message: `--as: expected one of ${Object.keys(PARTS).join(', ')}, got ${JSON.stringify(option)}`,
    hint: 'It says which part connects with the role of DATABASE_URL.',
  });
}

/** Looks at everything that is not started here, and changes nothing. */
export const command: Command = {
  usage: '[--json] [--as api|worker|connect]    --as: which part connects with the role of DATABASE_URL',
  options: { json: { type: 'boolean' }, as: { type: 'string' } },
  async run({ options, env, print }) {
    const settings = readSettings(env);
    const parts = partsNamed(options.as);
    const targets = targetsOf(settings);
    const database = await withClient(targets.databaseUrl, client =>
      examineDatabase(client, { settings, targets, parts }),
    );
    const groups = [
      ...database.groups,
      ...(await examineRedis(targets)),
      ...(await examineKafka(targets, settings)),
    ];
    const isGood = lacksOf(groups).length === 0;
    const shownUrl = withoutPassword(targets.databaseUrl);
    if (options.json) {
      print(JSON.stringify({ isGood, database: shownUrl, feed: targets.feed, parts, groups }, null, 2));
    } else {
      const title = `${shownUrl}, feed ${targets.feed}, as ${parts.join(' and ')}`;
      for (const line of reportLines(title, groups)) print(line);
    }
    return isGood ? exitCode.good : exitCode.databaseNotPrepared;
  },
};
