import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

/** One decision each, one key each; what they take and answer stands at the head of the .lua file. */
export type ScriptName =
  | 'lease'
  | 'fill'
  | 'release'
  | 'event'
  | 'adopt'
  | 'epoch'
  | 'generation'
  | 'remember'
  | 'forget'
  | 'take-nonces'
  | 'echo';

export interface Script {
  readonly name: ScriptName;
  readonly source: string;
  readonly sha: string;
}

const folder = new URL('./lua/', import.meta.url);

const load = (file: string): Script => {
  const source = readFileSync(new URL(file, folder), 'utf8');
  return {
    name: file.replace(/\.lua$/, '') as ScriptName,
    source,
    sha: createHash('sha1').update(source).digest('hex'),
  };
};

const all = readdirSync(folder)
  .filter(file => file.endsWith('.lua'))
  .map(load);

export const scripts = Object.fromEntries(all.map(script => [script.name, script])) as Record<
  ScriptName,
  Script
>;
export const everyScript: readonly Script[] = all;
