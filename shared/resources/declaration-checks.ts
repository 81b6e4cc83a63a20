import type { TableOptions } from './define.ts';
import { parseDuration } from './duration.ts';
import type { Flaw } from './flaw.ts';
import { nearMiss } from './near-miss.ts';
import type { Column, TableShape } from './resource.ts';
import type { TableFacts } from './table-facts.ts';
import { TYPE } from './type-oids.ts';
import { bumpsVersion, versionTriggerSql } from './version-trigger.ts';

/** A segment that every client and proxy leaves as it is. */
const RESOURCE_NAME = /^[A-Za-z0-9_-]+$/;
/** Paths that the API answers itself. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['health', 'docs']);

export function checkResourceName(name: string): Flaw[] {
  if (!RESOURCE_NAME.test(name)) {
    return [
      {
        expected: 'a name of letters, digits, - and _, because it is a path segment',
        came: JSON.stringify(name),
        mend: 'give the resource another name; the table keeps its own',
      },
    ];
  }
  if (!RESERVED_NAMES.has(name)) return [];
  return [
    {
      expected: 'a name of its own',
      came: `/${name}, which Freshet answers itself`,
      mend: 'give the resource another name',
    },
  ];
}

/** Which values an option takes, in words and as a test. */
type Rule = readonly [expected: string, fits: (value: unknown) => boolean];

const isNames = (value: unknown): boolean =>
  Array.isArray(value) && value.every(name => typeof name === 'string');
const names: Rule = ['a list of column names', isNames];
const oneOf = (...values: readonly unknown[]): Rule => [
  values.map(value => JSON.stringify(value)).join(' or '),
  value => values.includes(value),
];
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const RULES: Readonly<Record<keyof TableOptions, Rule>> = {
  columns: [
    'a list of column names, not an empty one',
    value => isNames(value) && (value as unknown[]).length > 0,
  ],
  readOnly: names,
  filters: names,
  orders: names,
  maxLimit: ['an integer from 1', value => isCount(value) && value !== 0],
  etag: oneOf('hash', 'version'),
  versionColumn: ['a column name', value => typeof value === 'string'],
  write: oneOf(false, 'cache-aside', 'write-through'),
  rewarm: oneOf('never', 'hot'),
  warmUp: ['{ top: an integer from 0 }', value => isCount((value as { top?: unknown } | null)?.top)],
  ttl: ["a duration like '90s', '10m', '1h', or 0 for none", value => parseDuration(value) !== null],
  // What may stand in a header, RFC 9110 5.5.
  cacheControl: [
    'a Cache-Control value',
    value => typeof value === 'string' && /^[!-~]([ -~]*[!-~])?$/.test(value),
  ],
  numbers: [
    "an object of column: 'string' or 'number'",
    value =>
      typeof value === 'object' &&
      value !== null &&
      Object.values(value).every(as => as === 'string' || as === 'number'),
  ],
};

/** Types are erased and configurations may be plain JavaScript: what the compiler would say is said again here. */
export function checkOptions(options: TableOptions): Flaw[] {
  return Object.entries(options).flatMap(([option, value]): Flaw[] => {
    const rule = Object.hasOwn(RULES, option) ? RULES[option as keyof TableOptions] : undefined;
    if (!rule) {
      const meant = nearMiss(option, Object.keys(RULES));
      return [
        {
          expected: `options among ${Object.keys(RULES).join(', ')}`,
          came: option,
          mend: meant ? `did you mean ${meant}?` : `remove ${option}`,
        },
      ];
    }
    const [expected, fits] = rule;
    if (value === undefined || fits(value)) return [];
    return [
      {
        expected: `${option} to be ${expected}`,
        came: JSON.stringify(value) ?? String(value),
        mend: `change ${option}`,
      },
    ];
  });
}

/** What the options say about columns, against the columns there are. Only for options that passed `checkOptions`. */
export function checkColumns(options: TableOptions, shape: TableShape, facts: TableFacts): Flaw[] {
  const unknown = checkNames(
    'each of columns',
    options.columns ?? [],
    shape.columns.map(column => column.name),
    'a column of the table',
  );
  // Half a list would only make more of the same.
  if (unknown.length > 0) return unknown;
  const exposed = options.columns ?? shape.columns.map(column => column.name);
  const among = (option: 'readOnly' | 'filters' | 'orders'): Flaw[] =>
    checkNames(`each of ${option}`, options[option] ?? [], exposed, 'an exposed column');
  return [
    ...checkExposedOnce(exposed),
    ...checkKeyExposed(exposed, shape),
    ...among('readOnly'),
    ...among('filters'),
    ...among('orders'),
    ...checkNumbers(options, exposed, shape),
    ...checkVersion(options, exposed, shape, facts),
  ];
}

function checkNames(
  option: string,
  asked: readonly string[],
  known: readonly string[],
  what: string,
): Flaw[] {
  const there = new Set(known);
  return asked
    .filter(name => !there.has(name))
    .map(name => {
      const meant = nearMiss(name, known);
      return {
        expected: `${option} to be ${what}`,
        came: JSON.stringify(name),
        mend: meant ? `did you mean ${meant}?` : `there are ${known.join(', ')}`,
      };
    });
}

function checkExposedOnce(exposed: readonly string[]): Flaw[] {
  const twice = exposed.filter((name, i) => exposed.indexOf(name) !== i);
  return twice.map(name => ({
    expected: 'each column once',
    came: `${name} again`,
    mend: `remove one ${name} from columns`,
  }));
}

/**
 * A representation says which row it is: the answer to POST, the items of a list and its paging need it, and there
 * is nothing to hide, since the key stands in the row's URL.
 */
function checkKeyExposed(exposed: readonly string[], shape: TableShape): Flaw[] {
  const hidden = shape.key.map(column => column.name).filter(name => !exposed.includes(name));
  if (hidden.length === 0) return [];
  return [
    {
      expected: 'the primary key among the columns',
      came: `none of ${hidden.join(', ')}`,
      mend: `add ${hidden.map(name => `'${name}'`).join(', ')} to columns`,
    },
  ];
}

function checkNumbers(options: TableOptions, exposed: readonly string[], shape: TableShape): Flaw[] {
  const asked = Object.keys(options.numbers ?? {});
  const exact = shape.columns
    .filter(column => exposed.includes(column.name) && isExactNumber(column))
    .map(column => column.name);
  return checkNames('each of numbers', asked, exact, 'an exposed int8 or numeric column');
}

/** Columns whose values can have more digits than a JSON number is sure to keep; arrays of them too. */
function isExactNumber(column: Column): boolean {
  const oid = column.elementTypeOid ?? column.typeOid;
  return oid === TYPE.int8 || oid === TYPE.numeric;
}

const VERSION_TYPES: ReadonlySet<number> = new Set([TYPE.int4, TYPE.int8]);

function checkVersion(
  options: TableOptions,
  exposed: readonly string[],
  shape: TableShape,
  facts: TableFacts,
): Flaw[] {
  const { etag, versionColumn } = options;
  if (etag !== 'version') {
    if (versionColumn === undefined) return [];
    return [
      {
        expected: "versionColumn only with etag: 'version'",
        came: `etag: '${etag ?? 'hash'}'`,
        mend: 'change etag, or remove versionColumn',
      },
    ];
  }
  if (versionColumn === undefined) {
    return [
      {
        expected: "versionColumn with etag: 'version'",
        came: 'none',
        mend: "name the column: versionColumn: 'version'",
      },
    ];
  }
  const unknown = checkNames('versionColumn', [versionColumn], exposed, 'an exposed column');
  if (unknown.length > 0) return unknown;
  const column = shape.columns.find(({ name }) => name === versionColumn)!;
  const flaws: Flaw[] = [];
  if (!VERSION_TYPES.has(column.typeOid) || !column.notNull) {
    flaws.push({
      expected: `${versionColumn} to be bigint (or integer) and not null`,
      came: `${column.type}${column.notNull ? '' : ', nullable'}`,
      mend: "change the column, or use etag: 'hash'",
    });
  }
  if (!bumpsVersion(facts.triggers, versionColumn)) {
    flaws.push({
      expected: `${versionColumn} to move with every write, also one from psql: a trigger freshet.bump_version, before insert or update, for each row, enabled always`,
      came: 'no such trigger',
      mend: versionTriggerSql(shape, versionColumn),
    });
  }
  return flaws;
}
