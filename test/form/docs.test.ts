import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { kafkaNames } from '../../connectors/names.ts';
import { METRIC_NAMES, prometheusName } from '../../observability/metrics.ts';
import { definitions } from '../../shared/settings.ts';
import { files, home, read } from './source.ts';

const pages = files.filter(file => file.endsWith('.md'));
/** For those who run it. */
const manual = pages.filter(page => /^docs\/(kafka|production|runbooks\/.*)\.md$/.test(page));

/** As GitHub makes them of headings. */
const anchorsOf = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

const linksOf = (page: string): string[] =>
  [
    ...read(page)
      .replaceAll(/^```[\s\S]*?^```/gm, '')
      .matchAll(/\]\((?!https?:)([^)\s]+)\)/g),
  ].map(([, target]) => target!);

/** Words of a page that are code, one by one. */
const codeIn = (page: string): string[] => [...read(page).matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);

const isIn = (folders: readonly string[]) => (file: string) =>
  file.endsWith('.ts') && folders.some(folder => file.startsWith(`${folder}/`));
const source = files
  .filter(isIn(['workers', 'connectors', 'shared', 'cli']))
  .map(read)
  .join('\n');
const observe = read('shared/observe.ts');

describe('the pages', () => {
  test.each(pages)('%s links to what is there', page => {
    const broken = linksOf(page).filter(link => {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(home, target))) return true;
      return anchor !== undefined && target.endsWith('.md') && !anchorsOf(target).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  test('every runbook is in the list of them', () => {
    const linked = linksOf('docs/runbooks/README.md');
    const runbooks = manual.filter(page => page.startsWith('docs/runbooks/') && !page.endsWith('README.md'));
    expect(runbooks.length).toBeGreaterThan(5);
    expect(runbooks.filter(page => !linked.includes(page.split('/').at(-1)!))).toEqual([]);
  });
});

describe('names in the pages for those who run it', () => {
  test.each(manual)('%s names metrics, roles, slots and connectors as they are', page => {
    const names = [null, 'shop'].flatMap(namespace => Object.values(kafkaNames(namespace)));
    const roles = [...read('connectors/roles.sql').matchAll(/create role (\w+)/g)].map(([, role]) => role!);
    const known = new Set([...METRIC_NAMES.map(prometheusName), ...names, ...roles, 'freshet_default']);
    const used = [...read(page).matchAll(/\bfreshet_[a-z_]+[a-z]/g)].map(([name]) => name);
    const isPattern = (name: string): boolean => read(page).includes(`${name}_(`);
    expect([...new Set(used)].filter(name => !known.has(name) && !isPattern(name))).toEqual([]);
  });

  test.each(manual)('%s names settings that there are', page => {
    const known = new Set(Object.values(definitions).map(({ env }) => env as string));
    const used = [...read(page).matchAll(/\bFRESHET_[A-Z_]+/g)].map(([name]) => name);
    expect([...new Set(used)].filter(name => !known.has(name))).toEqual([]);
  });

  test.each(manual)('%s names events and errors that there are', page => {
    const events = [...observe.matchAll(/type: '([\w.-]+)'/g)].map(([, type]) => type!);
    // Others share their first word with settings of Kafka and Postgres.
    const kinds = new Set([
      'gap',
      'feed',
      'slot',
      'connector',
      'change',
      'beat',
      'generation',
      'redis',
      'postgres',
    ]);
    const settings = Object.keys(JSON.parse(read('connectors/debezium.json')) as object);
    const used = codeIn(page).filter(
      code => /^[a-z-]+(\.[a-z-]+)+$/.test(code) && kinds.has(code.split('.')[0]!),
    );
    const isSetting = (name: string): boolean =>
      settings.includes(name) || read('connectors/local/connect.ts').includes(`'${name}'`);
    expect(used.filter(name => !events.includes(name) && !isSetting(name))).toEqual([]);

    const errors = codeIn(page).filter(code =>
      /^(feed|kafka|cache|topic|connector|slot|gap|bad)-[a-z-]+$/.test(code),
    );
    const isKnown = (code: string): boolean =>
      source.includes(`'${code}'`) || existsSync(join(home, `docs/${code}.md`));
    expect(errors.filter(code => !isKnown(code))).toEqual([]);
  });

  test.each(manual)('%s names tests that there are', page => {
    expect(codeIn(page).filter(code => /^test\/.*\.ts$/.test(code) && !existsSync(join(home, code)))).toEqual(
      [],
    );
  });

  test('docs/kafka.md tells every cause of a gap', () => {
    const [, union] = /export type GapCause =([^;]+);/.exec(observe)!;
    const causes = [...union!.matchAll(/'([\w-]+)'/g)].map(([, cause]) => cause!);
    expect(causes.length).toBeGreaterThan(12);
    expect(causes.filter(cause => !read('docs/kafka.md').includes(`\`${cause}\``))).toEqual([]);
  });
});
