import { describe, expect, test } from '@jest/globals';
import { files, read } from './source.ts';

const longestLines = 350;
const isSource = (file: string): boolean => /\.(ts|mjs|js|lua)$/.test(file);
const isTest = (file: string): boolean => file.startsWith('test/');
const isText = (file: string): boolean =>
  /\.(ts|mjs|js|lua|sql|json|md|yml|yaml)$|(^|\/)[A-Z]?[a-z.]+$/.test(file);
const isProduct = (file: string): boolean =>
  /^(api|workers|shared|observability|cli|connectors)\//.test(file);

/** Lines of the chosen files that match, as `file:line: text`. */
const linesWith = (pattern: RegExp, chosen: (file: string) => boolean): string[] =>
  files.filter(chosen).flatMap(file =>
    read(file)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );

describe('the form of files', () => {
  test(`no source file is longer than ${longestLines} lines`, () => {
    const long = files
      .filter(file => isSource(file) && !isTest(file))
      .map(file => ({ file, lines: read(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > longestLines);
    expect(long).toEqual([]);
  });

  test('file names are kebab-case', () => {
    const name = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)+$/;
    expect(files.filter(file => isSource(file) && !name.test(file.split('/').at(-1)!))).toEqual([]);
  });

  test('nothing names a path of one machine', () => {
    const machine = /(^|[\s"'`=(])\/(home|root|Users|work|tmp)\/[A-Za-z0-9._-]+\//;
    expect(linesWith(machine, file => isText(file) && !file.startsWith('test/form/'))).toEqual([]);
  });

  test('nothing names a package registry', () => {
    const registry = /registry\.npmjs\.org|registry\.yarnpkg\.com|npm\.pkg\.github\.com|_authToken/;
    expect(linesWith(registry, file => isText(file) && !file.startsWith('test/form/'))).toEqual([]);
    // What npm would write beside each package is left out of the lock file.
    expect(read('package-lock.json')).not.toMatch(/"resolved": "https?:/);
  });

  test('the lock file holds the packages of every platform, without which npm ci refuses it', () => {
    const packages: Record<string, { optionalDependencies?: Record<string, string> }> = JSON.parse(
      read('package-lock.json'),
    ).packages;
    const names = new Set(Object.keys(packages).map(path => path.split('node_modules/').at(-1)!));
    const asked = Object.values(packages).flatMap(({ optionalDependencies }) =>
      Object.keys(optionalDependencies ?? {}),
    );
    expect(asked.filter(name => !names.has(name))).toEqual([]); // node .ci/complete-lock.mjs adds them
  });

  test('nothing is left to be done later', () => {
    expect(
      linesWith(/\b(TODO|FIXME|XXX|HACK)\b/, file => isSource(file) && !file.startsWith('test/form/')),
    ).toEqual([]);
  });

  test('no test is left out or run alone', () => {
    const left = /\b(test|it|describe)\.(only|skip|todo)\b|\bx(test|it|describe)\(/;
    expect(linesWith(left, file => isTest(file) && !file.startsWith('test/form/'))).toEqual([]);
  });

  test('the environment is read by entries alone', () => {
    const isEntry = (file: string): boolean =>
      /(^|\/)(main|context)\.ts$/.test(file) || file.startsWith('cli/');
    expect(linesWith(/process\.env\b/, file => isProduct(file) && !isEntry(file))).toEqual([]);
  });

  test('key strings are built in one file', () => {
    const key = /namespace\}:|['"`]:(r|control|nonces|beat|feed|processes|echo|popularity)\b/;
    expect(linesWith(key, file => isProduct(file) && file !== 'shared/resources/keys.ts')).toEqual([]);
  });
});
