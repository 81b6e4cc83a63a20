import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const home = fileURLToPath(new URL('../..', import.meta.url));

const skipped = new Set(['node_modules', 'dist', 'coverage']);

function* walk(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === '.git' || entry.name.startsWith('.freshet') || skipped.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield relative(home, path);
  }
}

/** Every file of the project, relative to its folder. */
export const files: readonly string[] = [...walk(home)].toSorted();

export const read = (file: string): string => readFileSync(join(home, file), 'utf8');

export interface Import {
  /** A file of the project, or the name of a package (`node:` ones included). */
  readonly target: string;
  readonly isInternal: boolean;
  /** Only types are taken: nothing of it is there when the program runs. */
  readonly isType: boolean;
}

const statement = /^\s*(?:import|export)\s+(type\s+)?(?:([^'"();]*?)\sfrom\s+)?['"]([^'"]+)['"]/gm;
const dynamic = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

/** `{ type A, type B }`: every name is a type. */
const takesOnlyTypes = (clause: string): boolean => {
  const names = /^\{([\s\S]*)\}$/.exec(clause.trim())?.[1];
  const parts =
    names
      ?.split(',')
      .map(name => name.trim())
      .filter(Boolean) ?? [];
  return parts.length > 0 && parts.every(name => name.startsWith('type '));
};

/** What a file imports. */
export function importsOf(file: string, source = read(file)): Import[] {
  const found: { specifier: string; isType: boolean }[] = [];
  for (const [, type, clause = '', specifier] of source.matchAll(statement)) {
    found.push({ specifier: specifier!, isType: type !== undefined || takesOnlyTypes(clause) });
  }
  for (const [, specifier] of source.matchAll(dynamic)) found.push({ specifier: specifier!, isType: false });
  return found.map(({ specifier, isType }) => {
    const isInternal = specifier.startsWith('.');
    const target = isInternal ? join(dirname(file), specifier) : packageOf(specifier);
    return { target, isInternal, isType };
  });
}

const packageOf = (specifier: string): string =>
  specifier.startsWith('node:')
    ? specifier
    : specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
