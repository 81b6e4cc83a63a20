import type { FieldDef } from 'pg';
import { readSettings } from '../shared/config.ts';
import { FreshetError } from '../shared/errors.ts';
import { type Command, exitCode } from './command.ts';
import { pathsOf, readRun } from './data-folder.ts';
import { withClient } from './local/database.ts';

type Row = readonly (string | null)[];

/** Columns under their names, as psql prints them. */
function aligned(names: readonly string[], rows: readonly Row[]): string[] {
  const widths = names.map((name, column) =>
    Math.max(name.length, ...rows.map(row => row[column]?.length ?? 0)),
  );
  const line = (cells: Row): string =>
    cells.map((cell, column) => (cell ?? '').padEnd(widths[column]!)).join(' | ');
  return [line(names), widths.map(width => '-'.repeat(width)).join('-+-'), ...rows.map(line)];
}

/** A statement for the database that is up: an edit past the API, for people without psql. */
export const command: Command = {
  usage: '"<statement>"',
  options: {},
  async run({ words, env, print }) {
    const statement = words.join(' ').trim();
    if (statement === '') {
      throw new FreshetError({
        code: 'no-statement',
        message: 'A statement is missing',
        hint: 'npm run -s freshet sql "UPDATE cities SET population = population + 1 WHERE id = 2988507"',
      });
    }
    const { databaseUrl } = readRun(pathsOf(readSettings(env).dataDir));
    await withClient(databaseUrl, async client => {
      const asPrinted = { getTypeParser: () => (text: string) => text };
      const answer = await client
        .query({ text: statement, rowMode: 'array', types: asPrinted })
        .catch((error: Error) =>
          Promise.reject(new FreshetError({ code: 'bad-statement', message: error.message })),
        );
      const results = Array.isArray(answer) ? answer : [answer];
      for (const { command: verb, fields, rows, rowCount } of results) {
        if (fields.length > 0)
          for (const line of aligned(
            fields.map((field: FieldDef) => field.name),
            rows,
          ))
            print(line);
        print(rowCount === null ? verb : `${verb} ${rowCount}`);
      }
    });
    return exitCode.good;
  },
};
