import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isAlive, markOf, type ProcessMark } from './processes.ts';

const attempts = 3;

/** Which living process holds the lock; null when none does. */
export function lockHolder(file: string): ProcessMark | null {
  try {
    const mark = JSON.parse(readFileSync(file, 'utf8')) as ProcessMark;
    return isAlive(mark) ? mark : null;
  } catch {
    return null;
  }
}

/**
 * Takes a lock that dies with its process: how to let go of it, or who holds it. null when it could not be taken
 * although nobody seems to hold it.
 */
export function takeLock(file: string): { readonly unlock: () => void } | ProcessMark | null {
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(markOf(process.pid)), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        linkSync(mine, file); // Fails when it exists: one of two that start together wins.
        return { unlock: () => rmSync(file, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = lockHolder(file);
      if (holder) return holder;
      rmSync(file, { force: true });
    }
    return null;
  } finally {
    rmSync(mine, { force: true });
  }
}
