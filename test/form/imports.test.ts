import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { files, home, type Import, importsOf } from './source.ts';

/** Who may import whom. Each rule says which imports of which files break it. */
interface Rule {
  readonly name: string;
  readonly isBrokenBy: (file: string, taken: Import) => boolean;
}

const areas = ['api', 'workers', 'connectors', 'shared', 'observability', 'cli'] as const;
const areaOf = (path: string): string => path.split('/')[0]!;
const isIn = (path: string, ...folders: readonly string[]): boolean =>
  folders.some(folder => path === folder || path.startsWith(`${folder}/`));
const isEntry = (file: string): boolean => /(^|\/)(main|context)\.ts$/.test(file);

/** A package is used in these places, and nowhere else. Types may be named anywhere. */
const homeOf = (packages: readonly string[], ...places: readonly string[]): Rule => ({
  name: `${packages.join(', ')} only in ${places.join(', ')}`,
  isBrokenBy: (file, taken) => !taken.isType && packages.includes(taken.target) && !isIn(file, ...places),
});

const pureFiles = (file: string): boolean =>
  file === 'workers/plan.ts' || isIn(file, 'shared/protocol', 'api/http');

const rules: readonly Rule[] = [
  {
    name: 'shared imports nothing of the other folders',
    isBrokenBy: (file, taken) =>
      areaOf(file) === 'shared' && taken.isInternal && areaOf(taken.target) !== 'shared',
  },
  {
    name: 'observability imports only itself and types of shared',
    isBrokenBy: (file, { isInternal, isType, target }) =>
      areaOf(file) === 'observability' &&
      isInternal &&
      areaOf(target) !== 'observability' &&
      !(areaOf(target) === 'shared' && isType),
  },
  {
    name: 'api and workers never import each other',
    isBrokenBy: (file, { isInternal, target }) =>
      isInternal &&
      ((areaOf(file) === 'api' && areaOf(target) === 'workers') ||
        (areaOf(file) === 'workers' && areaOf(target) === 'api')),
  },
  {
    name: 'connectors import only themselves and shared',
    isBrokenBy: (file, { isInternal, target }) =>
      areaOf(file) === 'connectors' && isInternal && !['connectors', 'shared'].includes(areaOf(target)),
  },
  {
    name: 'nothing but cli imports cli',
    isBrokenBy: (file, { isInternal, target }) =>
      isInternal &&
      areaOf(target) === 'cli' &&
      ['api', 'workers', 'connectors', 'shared', 'observability'].includes(areaOf(file)),
  },
  {
    name: 'only main.ts and context.ts import observability',
    isBrokenBy: (file, { isInternal, target }) =>
      isInternal && areaOf(target) === 'observability' && areaOf(file) !== 'observability' && !isEntry(file),
  },
  {
    name: 'pure files import no client library and no clock',
    isBrokenBy: (file, { isInternal, isType, target }) =>
      pureFiles(file) &&
      !isType &&
      (target === 'shared/clock.ts' ||
        (!isInternal && !['node:crypto', 'node:http', 'node:util', 'node:buffer'].includes(target))),
  },
  homeOf(['pg', 'pg-copy-streams'], 'shared/origin', 'workers/feed', 'cli/local', 'cli/demo'),
  homeOf(['ioredis'], 'shared/cache', 'shared/queue'),
  homeOf(['kafkajs'], 'connectors/kafka-client.ts', 'connectors/kafka-consumer.ts'),
  homeOf(['bullmq'], 'shared/queue'),
  homeOf(['@bull-board/api', '@bull-board/express'], 'api/admin'),
  {
    name: 'OpenTelemetry only in observability',
    isBrokenBy: (file, { isType, target }) =>
      !isType && target.startsWith('@opentelemetry/') && areaOf(file) !== 'observability',
  },
];

const sources = files.filter(
  file => file.endsWith('.ts') && (areas as readonly string[]).includes(areaOf(file)),
);
const taken = sources.flatMap(file => importsOf(file).map(one => ({ file, one })));

describe('who may import whom', () => {
  test.each(rules)('$name', ({ isBrokenBy }) => {
    const broken = taken.filter(({ file, one }) => isBrokenBy(file, one));
    expect(broken.map(({ file, one }) => `${file} imports ${one.target}`)).toEqual([]);
  });

  test('every import of a file names one that is there', () => {
    const missing = taken.filter(({ one }) => one.isInternal && !existsSync(join(home, one.target)));
    expect(missing.map(({ file, one }) => `${file} imports ${one.target}`)).toEqual([]);
  });

  test('the rules see what they are about', () => {
    expect(sources.length).toBeGreaterThan(50);
    const source = [
      "import { a } from './b.ts';",
      "import type { C } from '../shared/c.ts';",
      "import { type D, type E } from 'pg';",
      'import {\n  type F,\n  g,\n} from "@opentelemetry/api/x";',
      "export { h } from './h.ts';",
      "import 'node:fs';",
      "const later = import('./i.ts');",
    ].join('\n');
    expect(importsOf('api/a.ts', source)).toEqual([
      { target: 'api/b.ts', isInternal: true, isType: false },
      { target: 'shared/c.ts', isInternal: true, isType: true },
      { target: 'pg', isInternal: false, isType: true },
      { target: '@opentelemetry/api', isInternal: false, isType: false },
      { target: 'api/h.ts', isInternal: true, isType: false },
      { target: 'node:fs', isInternal: false, isType: false },
      { target: 'api/i.ts', isInternal: true, isType: false },
    ]);
  });
});
