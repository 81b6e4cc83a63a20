import type { ParseArgsConfig } from 'node:util';

/** What scripts may rely on. */
export const exitCode = {
  good: 0,
  trouble: 1,
  /** An unknown command or option. */
  usage: 2,
  /** The database lacks something; the message holds the SQL that mends it. */
  databaseNotPrepared: 3,
  /** The command needs a running Freshet, and none runs on this data folder. */
  notRunning: 4,
} as const;

export interface Call {
  /** What stands after the command, options taken out. */
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  /** Environment, with what `.env` adds to it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where a variable was set: `environment` or `.env`. */
  readonly sourceOf: (name: string) => string;
  /** One line on standard output. */
  readonly print: (line: string) => void;
}

export interface Command {
  /** What stands after the name: `[--json]`. */
  readonly usage: string;
  readonly options: NonNullable<ParseArgsConfig['options']>;
  /** Everything after the command is passed on as it is. */
  readonly passesOn?: true;
  /** Returns the exit code; a FreshetError is printed by the caller. */
  readonly run: (call: Call) => Promise<number>;
}
