import { createHash } from 'node:crypto';
import { FreshetError } from '../errors.ts';
import { checkColumns, checkOptions, checkResourceName } from './declaration-checks.ts';
import type { FreshetConfig, TableOptions } from './define.ts';
import { parseDuration } from './duration.ts';
import { type Failure, type Flaw, failureText } from './flaw.ts';
import { splitName } from './introspect.ts';
import { nearMiss } from './near-miss.ts';
import type { Catalog, Column, Resource, TableShape } from './resource.ts';
import { checkTable } from './table-checks.ts';
import type { TableFacts } from './table-facts.ts';

const DEFAULT_WARM_UP_TOP = 1_000;
/** Store it, but ask every time: that is what makes a 304 possible. */
const DEFAULT_CACHE_CONTROL = 'private, no-cache';

/** What the database says: shapes and facts of every declared table (without a configuration: of all tables). */
export interface Database {
  readonly shapes: readonly TableShape[];
  readonly facts: readonly TableFacts[];
}

/**
 * The resources of a process. With a configuration, exactly the declared ones; without, every table of schema public
 * that can be served, read-only, and a note for each that cannot.
 * @throws FreshetError `bad-resources` with every failure of every resource, each with what mends it.
 */
export function resolveCatalog(
  config: FreshetConfig | null,
  shapes: readonly TableShape[],
  facts: readonly TableFacts[],
): Catalog {
  const { resources, failures } = examineResources(config, { shapes, facts });
  const isFatal = failures.length > 0 && (config !== null || resources.length === 0);
  if (isFatal) throw badResources(failures);
  return catalogOf(
    resources,
    failures.map(failure => `not served: ${failureText(failure)}`),
  );
}

export interface Examined {
  readonly resources: readonly Resource[];
  /** What is in the way of the others. */
  readonly failures: readonly Failure[];
}

/** The same question without a verdict: what can be served, and what is in the way of the rest. */
export const examineResources = (config: FreshetConfig | null, database: Database): Examined =>
  config ? declared(config, database) : everything(database);

function declared(config: FreshetConfig, database: Database): Examined {
  const resources: Resource[] = [];
  const failures: Failure[] = [];
  for (const [name, declaration] of Object.entries(config.resources)) {
    const found = resolve(name, declaration.table, declaration.options, database);
    if (found.resource) resources.push(found.resource);
    failures.push(...found.flaws.map(flaw => ({ resource: name, table: declaration.table, ...flaw })));
  }
  return { resources, failures };
}

function everything(database: Database): Examined {
  const resources: Resource[] = [];
  const failures: Failure[] = [];
  for (const { schema, name, oid } of database.shapes) {
    const facts = database.facts.find(facts => facts.oid === oid);
    const isTable = facts?.kind === 'table' || facts?.kind === 'partitioned table';
    // A partition is served as part of its table.
    if (schema !== 'public' || !isTable || facts.partitionOf !== null) continue;
    const found = resolve(name, `${schema}.${name}`, {}, database);
    if (found.resource) resources.push(found.resource);
    failures.push(...found.flaws.map(flaw => ({ resource: name, table: name, ...flaw })));
  }
  return { resources, failures };
}

function badResources(failures: readonly Failure[]): FreshetError {
  const count = failures.length === 1 ? 'one problem' : `${failures.length} problems`;
  return new FreshetError({
    code: 'bad-resources',
    message: `${count} with the resources:\n${failures.map(failure => `  - ${failureText(failure)}`).join('\n')}`,
    hint: 'Mend these and start again; nothing was changed.',
  });
}

/** One resource, or all that is in its way. */
function resolve(
  name: string,
  declaredTable: string,
  options: TableOptions,
  { shapes, facts }: Database,
): { resource?: Resource; flaws: readonly Flaw[] } {
  const optionFlaws = checkOptions(options);
  const flaws = [...checkResourceName(name), ...optionFlaws];
  const [schema, tableName] = splitName(declaredTable);
  const shape = shapes.find(shape => shape.schema === schema && shape.name === tableName);
  const factsOfTable = facts.find(facts => facts.oid === shape?.oid);
  if (!shape || !factsOfTable) return { flaws: [...flaws, missingTable(declaredTable, shapes)] };
  flaws.push(...checkTable(shape, factsOfTable));
  if (optionFlaws.length === 0) flaws.push(...checkColumns(options, shape, factsOfTable));
  return flaws.length > 0 ? { flaws } : { flaws, resource: resourceOf(name, shape, options) };
}

function missingTable(declaredTable: string, shapes: readonly TableShape[]): Flaw {
  const known = shapes.map(({ schema, name }) => (schema === 'public' ? name : `${schema}.${name}`));
  const meant = nearMiss(declaredTable, known);
  return {
    expected: 'an existing table',
    came: 'none of that name',
    mend: meant
      ? `did you mean ${meant}?`
      : 'create it, or correct the name (schema.table outside of public)',
  };
}

function resourceOf(name: string, shape: TableShape, options: TableOptions): Resource {
  const columns = exposedColumns(shape, options);
  const versionColumn = options.versionColumn ?? null;
  const etag = options.etag ?? 'hash';
  return {
    name,
    table: shape,
    columns,
    readOnly: new Set([
      ...(options.readOnly ?? []),
      ...(versionColumn === null ? [] : [versionColumn]),
      ...columns.filter(column => column.generated).map(column => column.name),
    ]),
    rep: representationName(shape, columns, etag, versionColumn),
    etag,
    versionColumn,
    write: options.write ?? false,
    rewarm: options.rewarm ?? 'hot',
    warmUpTop: options.warmUp?.top ?? DEFAULT_WARM_UP_TOP,
    ttlMs: parseDuration(options.ttl ?? 0)!,
    cacheControl: options.cacheControl ?? DEFAULT_CACHE_CONTROL,
  };
}

function exposedColumns(shape: TableShape, options: TableOptions): Column[] {
  const names = options.columns ?? shape.columns.map(column => column.name);
  return names.map(name => {
    const column = shape.columns.find(column => column.name === name)!;
    if (options.numbers?.[name] !== 'number') return column;
    return column.kind === 'array'
      ? { ...column, elementKind: 'exact-number' }
      : { ...column, kind: 'exact-number' };
  });
}

const REP_LENGTH = 12;

/** The same definition has the same name in every process and version; another definition has another one. */
function representationName(
  shape: TableShape,
  columns: readonly Column[],
  etag: string,
  versionColumn: string | null,
): string {
  const definition = [
    shape.schema,
    shape.name,
    // The same path leads to another row under another key.
    shape.key.map(column => column.name),
    columns.map(({ name, type, kind, elementKind }) => [name, type, kind, elementKind]),
    etag,
    versionColumn,
  ];
  return createHash('sha256').update(JSON.stringify(definition)).digest('base64url').slice(0, REP_LENGTH);
}

function catalogOf(resources: readonly Resource[], notes: readonly string[]): Catalog {
  const byTable = Map.groupBy(resources, resource => resource.table.qualified);
  return {
    resources: new Map(resources.map(resource => [resource.name, resource])),
    tables: new Map(resources.map(({ table }) => [table.qualified, table])),
    notes,
    of: qualifiedTable => byTable.get(qualifiedTable) ?? [],
  };
}
