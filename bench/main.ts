/** `npm run bench [-- reads | changes] [--rounds N] [--seconds S] [--json]` */
import { parseArgs } from 'node:util';
import { describe } from '../shared/errors.ts';
import { benchChanges, reportChanges } from './changes.ts';
import { type Cores, coreCount, divideCores } from './cores.ts';
import { benchReads, reportReads } from './reads.ts';
import { type Stores, startStores } from './stores.ts';

/** What every subject works with. */
export interface Bench {
  readonly stores: Stores;
  readonly cores: Cores | null;
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  /** Rows that are read; the subject's own number where it is absent. */
  readonly rows?: number;
  readonly say: (line: string) => void;
}

const subjects = ['reads', 'changes'] as const;
const usage = 'npm run bench [-- reads | changes] [--rounds N] [--seconds S] [--rows N] [--json]';

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
  if (unknown !== undefined) throw new RangeError(`expected ${subjects.join(' or ')}, got ${unknown}`);
  return {
    subjects: positionals.length > 0 ? positionals : subjects,
    rounds: Math.ceil(positive('rounds', values.rounds)),
    seconds: positive('seconds', values.seconds),
    ...(values.rows !== undefined && { rows: Math.ceil(positive('rows', values.rows)) }),
    json: values.json,
  };
}

async function run({ subjects: chosen, json, ...wanted }: Wanted): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const cores = divideCores(say);
  const stores = await startStores(say);
  // Ctrl-C: the measurement fails because what it measures is gone, and everything is put away below.
  process.once('SIGTERM', () => void stores.stop().finally(() => process.exit(143)));
  process.once('SIGINT', () => void stores.stop().finally(() => process.exit(130)));
  try {
    const bench: Bench = { stores, cores, say, ...wanted };
    const reads = chosen.includes('reads') ? await benchReads(bench) : null;
    const changes = chosen.includes('changes') ? await benchChanges(bench) : null;
    const conditions = { versions: stores.versions, cores: coreCount(), pinned: cores !== null, ...wanted };
    if (json) {
      process.stdout.write(`${JSON.stringify({ conditions, reads, changes }, null, 2)}\n`);
      return;
    }
    const where = cores === null ? 'not tied to cores' : 'server on one core, everything else on another';
    const parts = [
      `${conditions.versions}; ${conditions.cores} cores, ${where}; ${wanted.rounds} rounds of ${wanted.seconds} s, medians.`,
      ...(reads ? [reportReads(reads)] : []),
      ...(changes ? [reportChanges(changes)] : []),
    ];
    process.stdout.write(`${parts.join('\n\n')}\n`);
  } finally {
    await stores.stop();
  }
}

try {
  await run(readWords(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`bench: ${describe(error)}\n  ${usage}\n`);
  process.exitCode = 1;
}
