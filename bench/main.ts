/** `npm run bench [-- reads | changes | feeds] [--rounds N] [--seconds S] [--json]` */
import { parseArgs } from 'node:util';
import { describe } from '../shared/errors.ts';
import { benchChanges, reportChanges } from './changes.ts';
import { type Cores, coreCount, divideCores } from './cores.ts';
import type { FeedsResult } from './feeds.ts';
import { benchReads, reportReads } from './reads.ts';
import { type Stores, startStores } from './stores.ts';

/** What every subject works with. */
export interface Bench {
  readonly stores: Stores;
  readonly cores: Cores | null;
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  /** Rows that are read or changed; the subject's own number where it is absent. */
  readonly rows?: number;
  readonly say: (line: string) => void;
}

const subjects = ['reads', 'changes', 'feeds'] as const;
/** Needs Java, and at the first time a download: measured where it is asked for. */
const unlessNamed: readonly string[] = ['reads', 'changes'];
const usage = 'npm run bench [-- reads | changes | feeds] [--rounds N] [--seconds S] [--rows N] [--json]';

interface Wanted {
  readonly subjects: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
  readonly rows?: number;
  readonly json: boolean;
}

function readWords(words: string[]): Wanted {
  const { values, positionals } = parseArgs({
    args: words,
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      rows: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const positive = (name: string, text: string): number => {
    const value = Number(text);
    if (value > 0) return value;
    throw new RangeError(`--${name}: expected a number above 0, got ${text}`);
  };
  const unknown = positionals.find(word => !(subjects as readonly string[]).includes(word));
  if (unknown !== undefined)
    throw new RangeError(
      `expected ${subjects.slice(0, -1).join(', ')} or ${subjects.at(-1)}, got ${unknown}`,
    );
  return {
    subjects: positionals.length > 0 ? positionals : unlessNamed,
    rounds: Math.ceil(positive('rounds', values.rounds)),
    seconds: positive('seconds', values.seconds),
    ...(values.rows !== undefined && { rows: Math.ceil(positive('rows', values.rows)) }),
    json: values.json,
  };
}

/** Ctrl-C: the measurement fails because what it measures is gone, and everything is put away. */
async function withStores<T>(say: (line: string) => void, work: (stores: Stores) => Promise<T>): Promise<T> {
  const stores = await startStores(say);
  const end = (exitCode: number) => () => void stores.stop().finally(() => process.exit(exitCode));
  const [onTerm, onInt] = [end(143), end(130)];
  process.once('SIGTERM', onTerm).once('SIGINT', onInt);
  try {
    return await work(stores);
  } finally {
    await stores.stop();
    process.off('SIGTERM', onTerm).off('SIGINT', onInt);
  }
}

async function run({ subjects: chosen, json, ...wanted }: Wanted): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const wants = (subject: (typeof subjects)[number]): boolean => chosen.includes(subject);
  // First, because what this process is tied to, it stays tied to.
  const feeds = wants('feeds') ? await measureFeeds(say, wanted) : null;
  const divided = wants('reads') || wants('changes') ? await measureDivided(say, wants, wanted) : null;
  const { reads = null, changes = null } = divided ?? {};
  const pinned = divided?.pinned ?? false;
  const versions = feeds?.versions ?? divided?.versions;
  const conditions = { versions, cores: coreCount(), pinned, ...wanted };
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ conditions, reads, changes, feeds: feeds?.result ?? null }, null, 2)}\n`,
    );
    return;
  }
  const where = pinned ? 'server on one core, everything else on another' : 'not tied to cores';
  const rounds = `${wanted.rounds} rounds of ${wanted.seconds} s, medians`;
  const parts = [
    ...(feeds ? [`${versions}; ${conditions.cores} cores, not tied to them; ${rounds}.`, feeds.report] : []),
    ...(divided ? [`${divided.versions}; ${conditions.cores} cores, ${where}; ${rounds}.`] : []),
    ...(reads ? [reportReads(reads)] : []),
    ...(changes ? [reportChanges(changes)] : []),
  ];
  process.stdout.write(`${parts.join('\n\n')}\n`);
}

/** Loaded only here: a client of Kafka that the others have no use for. */
async function measureFeeds(
  say: (line: string) => void,
  wanted: Omit<Wanted, 'subjects' | 'json'>,
): Promise<{ result: FeedsResult; report: string; versions: string }> {
  const [{ benchFeeds }, { reportFeeds }] = await Promise.all([
    import('./feeds.ts'),
    import('./feeds-report.ts'),
  ]);
  return withStores(say, async stores => {
    const result = await benchFeeds({ stores, cores: null, say, ...wanted });
    return { result, report: reportFeeds(result), versions: `${stores.versions}, ${result.versions}` };
  });
}

function measureDivided(
  say: (line: string) => void,
  wants: (subject: (typeof subjects)[number]) => boolean,
  wanted: Omit<Wanted, 'subjects' | 'json'>,
) {
  const cores = divideCores(say);
  return withStores(say, async stores => {
    const bench: Bench = { stores, cores, say, ...wanted };
    const reads = wants('reads') ? await benchReads(bench) : null;
    const changes = wants('changes') ? await benchChanges(bench) : null;
    return { reads, changes, pinned: cores !== null, versions: stores.versions };
  });
}

try {
  await run(readWords(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`bench: ${describe(error)}\n  ${usage}\n`);
  process.exitCode = 1;
}
