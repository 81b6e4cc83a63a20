import type { TableShape } from '../resources/resource.ts';

/** `"name"`, with quotes inside doubled: any identifier, made safe for SQL text. */
export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export const quoteTable = (table: Pick<TableShape, 'schema' | 'name'>): string =>
  `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;

/** `'text'` as a literal, for the few commands that take no parameters. */
export const quoteLiteral = (text: string): string => `'${text.replaceAll("'", "''")}'`;
