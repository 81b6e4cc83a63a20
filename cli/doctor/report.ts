import type { Finding } from '../../shared/origin/examine/finding.ts';
import { type Group, lacksOf } from './group.ts';

const WORDS = { good: 'good', note: 'note', missing: 'MISSING' } as const;
const INDENT = ' '.repeat(2 + WORDS.missing.length + 2);
const WIDTH = 110;

/** Words of `text` in lines of at most `width`; whatever parted them, a line stays one line. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

function findingLines({ level, what, why, sql, mend }: Finding): string[] {
  const [first, ...others] = wrapped(what, WIDTH - INDENT.length);
  const texts = [why, mend].filter(text => text !== null);
  return [
    `  ${WORDS[level].padEnd(WORDS.missing.length)}  ${first}`,
    ...[...others, ...texts.flatMap(text => wrapped(text, WIDTH - INDENT.length))].map(
      line => `${INDENT}${line}`,
    ),
    ...sql.flatMap(statement => `${statement};`.split('\n').map(line => `${INDENT}  ${line}`)),
  ];
}

/** The findings for people: every place, what is wrong there, why it matters, and what mends it. */
export function reportLines(title: string, groups: readonly Group[]): string[] {
  const lacks = lacksOf(groups);
  const hasSql = lacks.some(({ sql }) => sql.length > 0);
  const count = lacks.length === 1 ? 'One thing is missing' : `${lacks.length} things are missing`;
  const verdict =
    lacks.length === 0
      ? 'Nothing is missing.'
      : `${count}.${hasSql ? ' `freshet init` prints the SQL as one script, `freshet init --apply` runs it.' : ''}`;
  return [
    title,
    ...groups.flatMap(({ name, findings }) => ['', name, ...findings.flatMap(findingLines)]),
    '',
    verdict,
  ];
}
