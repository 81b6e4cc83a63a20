import { readFileSync } from 'node:fs';
import type { TestServer } from './servers.ts';

/** Settings under which a server writes down every statement it runs, at once: a witness that nobody can bribe. */
export const LOG_STATEMENTS = { log_statement: 'all', log_min_duration_statement: -1 } as const;

/** How many statements of that kind the server's log says were run. */
export const statementsLogged = (server: TestServer, statement: RegExp): number =>
  readFileSync(server.logFile, 'utf8')
    // A statement of several lines goes on behind a tab.
    .replaceAll(/\n\t\s*/g, ' ')
    .split('\n')
    .filter(line => /LOG: {2}(execute|statement)/.test(line) && statement.test(line)).length;

/** The reading statement, and the check of GUARDED mode, whatever they are called. */
export const READING = /left join "public"\."places" t on t\./;
export const CHECK = /with ordinality as asked/;
