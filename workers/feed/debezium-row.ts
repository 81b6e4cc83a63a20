import type { TableShape } from '../../shared/resources/resource.ts';
import { TYPE } from '../../shared/resources/type-oids.ts';
import { type Fields, isInexact } from './debezium-json.ts';
import { type Printer, printerOf } from './debezium-value.ts';
import type { Image } from './feed.ts';

interface PrintedColumn {
  readonly name: string;
  readonly print: Printer;
}

/** Reads keys and images of one served table out of the rows of envelopes. */
export class RowReader {
  readonly qualified: string;
  readonly #key: readonly PrintedColumn[];
  readonly #columns: readonly PrintedColumn[];
  /** Of an image before: Debezium fills what the log does not hold with NULL, and with 0 or '' where that is not allowed. */
  readonly #identity: readonly PrintedColumn[];
  /** Columns of whole numbers that may not fit into a double. */
  readonly #long: readonly string[];

  constructor(shape: TableShape) {
    this.qualified = shape.qualified;
    this.#columns = shape.columns.flatMap(column => {
      const print = printerOf(column);
      return print ? [{ name: column.name, print }] : [];
    });
    this.#key = shape.key.map(column => ({ name: column.name, print: printerOf(column) ?? unprintable }));
    this.#identity = shape.replicaIdentity === 'full' ? this.#columns : this.#key;
    this.#long = shape.columns.filter(({ typeOid }) => typeOid === TYPE.int8).map(({ name }) => name);
  }

  /** Whether a whole number of the row was rounded when the envelope was parsed. */
  isInexact(row: Fields | null): boolean {
    return row !== null && this.#long.some(name => isInexact(row[name]));
  }

  /** The primary key, each column from the first row that says it; null where none does. */
  key(...rows: readonly (Fields | null)[]): readonly string[] | null {
    const key: string[] = [];
    for (const { name, print } of this.#key) {
      let text: string | null | undefined;
      for (let i = 0; i < rows.length && text == null; i += 1) text = print(rows[i]?.[name]);
      if (text == null) return null;
      key.push(text);
    }
    return key;
  }

  imageBefore(row: Fields): Image {
    return imageOf(row, this.#identity);
  }

  imageAfter(row: Fields): Image {
    return imageOf(row, this.#columns);
  }
}

const unprintable: Printer = () => undefined;

function imageOf(row: Fields, columns: readonly PrintedColumn[]): Image {
  const image: [string, string | null][] = [];
  for (const { name, print } of columns) {
    const text = print(row[name]);
    if (text !== undefined) image.push([name, text]);
  }
  return Object.fromEntries(image);
}
