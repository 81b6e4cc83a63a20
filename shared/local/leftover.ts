import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FreshetError } from '../errors.ts';
import { endProcess, isAlive, markOf, type ProcessMark, type StopSteps } from './processes.ts';

const markFile = (folder: string): string => join(folder, 'server.json');

/** Notes in a server's folder which process works on it. */
export function noteServer(folder: string, pid: number): void {
  const mark = markOf(pid);
  if (mark) writeFileSync(markFile(folder), JSON.stringify(mark));
}

export const forgetServer = (folder: string): void => rmSync(markFile(folder), { force: true });

/** A server that outlived the process that started it is stopped: two would write one folder. */
export async function stopLeftover(
  name: string,
  folder: string,
  steps: StopSteps,
  say: (line: string) => void,
): Promise<void> {
  let mark: ProcessMark;
  try {
    mark = JSON.parse(readFileSync(markFile(folder), 'utf8'));
  } catch {
    return;
  }
  if (!isAlive(mark)) return;
  say(`stopping the ${name} that an earlier run left behind (process ${mark.pid})`);
  if (await endProcess(mark, steps)) return;
  throw new FreshetError({
    code: 'data-folder-in-use',
    message: `A ${name} (process ${mark.pid}) still uses ${folder} and does not stop`,
    hint: `End it yourself, for instance with \`kill ${mark.pid}\`, and start again.`,
  });
}
