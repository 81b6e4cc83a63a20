import { readFileSync } from 'node:fs';
import { parseArgs, parseEnv } from 'node:util';
import { describe, FreshetError } from '../shared/errors.ts';
import { nearMiss } from '../shared/resources/near-miss.ts';
import { type Command, exitCode } from './command.ts';

interface Entry {
  readonly about: string;
  readonly load: () => Promise<{ command: Command }>;
}

/** Every command, in the order of the help; one file each. */
const commands: Readonly<Record<string, Entry>> = {
  up: { about: 'start everything, until Ctrl-C', load: () => import('./up.ts') },
  status: { about: 'what runs, and how fresh it is', load: () => import('./status.ts') },
  config: {
    about: 'every setting, with its value and where it comes from',
    load: () => import('./config.ts'),
  },
  doctor: {
    about: 'what a database, and all else that is named, lacks, and what mends it',
    load: () => import('./doctor.ts'),
  },
  init: {
    about: 'the SQL that mends the database; --apply runs it',
    load: () => import('./init.ts'),
  },
  connector: {
    about: 'the connector of the kafka feed: register, status, restart, remove',
    load: () => import('./connector.ts'),
  },
  sql: { about: 'run a statement in the database that is up', load: () => import('./sql.ts') },
  cache: { about: 'orders to the cache: flush', load: () => import('./cache.ts') },
  reset: { about: 'forget the data of the local servers', load: () => import('./reset.ts') },
  test: { about: 'run the tests; further words go to jest', load: () => import('./test.ts') },
  check: { about: 'format, lint, types and form of the source', load: () => import('./check.ts') },
  bench: { about: 'measure; further words go to the benchmark', load: () => import('./bench.ts') },
};

// Whoever read along may leave before the end (`| head`). That ends no command, and least of all a running stack.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`${line}\n`);

function help(): void {
  const width = Math.max(...Object.keys(commands).map(name => name.length));
  print('freshet <command> [options]\n');
  for (const [name, { about }] of Object.entries(commands)) print(`  ${name.padEnd(width)}  ${about}`);
  print(
    '\n`freshet <command> --help` tells its options. Settings are environment variables, or lines of a file .env:',
  );
  print('docs/configuration.md lists them.');
}

function unknownCommand(name: string): number {
  const meant = nearMiss(name, Object.keys(commands));
  complain(`${JSON.stringify(name)} is not a command${meant ? `; did you mean ${meant}?` : ''}`);
  complain(`There are ${Object.keys(commands).join(', ')}.`);
  return exitCode.usage;
}

/** Lines of `.env` in the current folder; what the environment itself says goes before them. */
function readEnvFile(): NodeJS.Dict<string> {
  try {
    return parseEnv(readFileSync('.env', 'utf8'));
  } catch {
    return {};
  }
}

/** The exit code that an error stands for. */
function exitCodeOf(error: unknown): number {
  const known: Readonly<Record<string, number>> = {
    'database-not-prepared': exitCode.databaseNotPrepared,
    'not-running': exitCode.notRunning,
  };
  return (error instanceof FreshetError && known[error.code]) || exitCode.trouble;
}

async function runCommand(name: string, args: readonly string[]): Promise<number> {
  const { command } = await commands[name]!.load();
  const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const;
  let parsed: { positionals: string[]; values: Record<string, unknown> };
  try {
    parsed = command.passesOn
      ? { positionals: [...args], values: {} }
      : parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    complain(describe(error));
    complain(`Usage: freshet ${name} ${command.usage}`);
    return exitCode.usage;
  }
  if (parsed.values.help) {
    print(`freshet ${name} ${command.usage}\n  ${commands[name]!.about}`);
    return exitCode.good;
  }
  const fromFile = readEnvFile();
  return command.run({
    words: parsed.positionals,
    options: parsed.values as Record<string, string | boolean | undefined>,
    env: { ...fromFile, ...process.env },
    sourceOf: variable =>
      process.env[variable] === undefined && variable in fromFile ? '.env' : 'environment',
    print,
  });
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    help();
    return exitCode.good;
  }
  return Object.hasOwn(commands, name) ? runCommand(name, args) : unknownCommand(name);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  complain(describe(error));
  if (!(error instanceof FreshetError)) complain(String((error as Error)?.stack ?? error));
  process.exitCode = exitCodeOf(error);
}
// The channel to whoever started us would keep the process alive.
if (process.connected) process.disconnect();
