import { FreshetError } from '../../shared/errors.ts';

/**
 * The messages of Postgres' `pgoutput` plugin, protocol version 1 (PostgreSQL manual, "Logical Replication Message
 * Formats"). Values stay text exactly as the server printed them, and rows stay undecoded until somebody asks: most
 * changes only ever need their key.
 */
export type PgoutputMessage =
  | { readonly tag: 'begin'; readonly commitLsn: bigint; readonly committedMs: number; readonly xid: number }
  | { readonly tag: 'commit'; readonly endLsn: bigint; readonly committedMs: number }
  | { readonly tag: 'relation'; readonly relation: Relation }
  | { readonly tag: 'insert'; readonly relationId: number; readonly after: Tuple }
  | {
      readonly tag: 'update';
      readonly relationId: number;
      readonly before: Tuple | null;
      readonly after: Tuple;
    }
  | { readonly tag: 'delete'; readonly relationId: number; readonly before: Tuple }
  | { readonly tag: 'truncate'; readonly relationIds: readonly number[] }
  | {
      readonly tag: 'message';
      readonly transactional: boolean;
      readonly lsn: bigint;
      readonly prefix: string;
      readonly content: Buffer;
    }
  | { readonly tag: 'ignored' };

export interface Relation {
  readonly id: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly { readonly name: string; readonly isKey: boolean }[];
}

/** Microseconds between the Unix epoch and the one of Postgres, 2000-01-01. */
const POSTGRES_EPOCH_US = 946_684_800_000_000n;

export const toUnixMs = (postgresUs: bigint): number => Number(postgresUs + POSTGRES_EPOCH_US) / 1000;

/** What a tuple says of one column. `undefined`: not sent, because an out-of-line value did not change. */
export type TupleValue = string | null | undefined;

/** A row image inside its message. */
export class Tuple {
  readonly #buffer: Buffer;
  readonly #start: number;
  readonly #count: number;
  /** `key`: only the identity columns carry values, the others say nothing. */
  readonly keyOnly: boolean;

  constructor(buffer: Buffer, start: number, keyOnly: boolean) {
    this.#buffer = buffer;
    this.#count = buffer.readInt16BE(start);
    this.#start = start + 2;
    this.keyOnly = keyOnly;
  }

  /** Offset behind the tuple. */
  end(): number {
    let at = this.#start;
    for (let i = 0; i < this.#count; i += 1) at = this.#skip(at);
    return at;
  }

  /** Values of all columns, in the order of the relation. */
  values(): TupleValue[] {
    const values: TupleValue[] = [];
    let at = this.#start;
    for (let i = 0; i < this.#count; i += 1) {
      values.push(this.#read(at));
      at = this.#skip(at);
    }
    return values;
  }

  /** Values at ascending positions, without touching what comes after the last of them. */
  pick(positions: readonly number[]): TupleValue[] {
    const picked: TupleValue[] = [];
    let at = this.#start;
    let column = 0;
    for (const position of positions) {
      for (; column < position; column += 1) at = this.#skip(at);
      picked.push(this.#read(at));
    }
    return picked;
  }

  #skip(at: number): number {
    const kind = this.#buffer[at];
    if (kind === NULL || kind === UNCHANGED) return at + 1;
    if (kind === TEXT) return at + 5 + this.#buffer.readInt32BE(at + 1);
    throw unknown('column kind', kind);
  }

  #read(at: number): TupleValue {
    const kind = this.#buffer[at];
    if (kind === NULL) return null;
    if (kind === UNCHANGED) return undefined;
    if (kind !== TEXT) throw unknown('column kind', kind);
    return this.#buffer.toString('utf8', at + 5, at + 5 + this.#buffer.readInt32BE(at + 1));
  }
}

const code = (letter: string): number => letter.charCodeAt(0);
const NULL = code('n');
const UNCHANGED = code('u');
const TEXT = code('t');
const KEY = code('K');
const OLD = code('O');
const NEW = code('N');

/** @throws FreshetError `bad-pgoutput`, RangeError on a message that ends too early. */
export function decodePgoutput(buffer: Buffer): PgoutputMessage {
  switch (buffer[0]) {
    case code('B'):
      return {
        tag: 'begin',
        commitLsn: buffer.readBigUInt64BE(1),
        committedMs: toUnixMs(buffer.readBigInt64BE(9)),
        xid: buffer.readUInt32BE(17),
      };
    case code('C'):
      return {
        tag: 'commit',
        endLsn: buffer.readBigUInt64BE(10),
        committedMs: toUnixMs(buffer.readBigInt64BE(18)),
      };
    case code('R'):
      return { tag: 'relation', relation: decodeRelation(buffer) };
    case code('I'):
      return { tag: 'insert', relationId: buffer.readUInt32BE(1), after: tupleAt(buffer, 5, NEW) };
    case code('U'):
      return decodeUpdate(buffer);
    case code('D'):
      return { tag: 'delete', relationId: buffer.readUInt32BE(1), before: tupleAt(buffer, 5, KEY, OLD) };
    case code('T'): {
      const relationIds: number[] = [];
      for (let i = 0; i < buffer.readUInt32BE(1); i += 1) relationIds.push(buffer.readUInt32BE(6 + 4 * i));
      return { tag: 'truncate', relationIds };
    }
    case code('M'): {
      const prefixEnd = buffer.indexOf(0, 10);
      const length = buffer.readUInt32BE(prefixEnd + 1);
      return {
        tag: 'message',
        transactional: (buffer[1]! & 1) === 1,
        lsn: buffer.readBigUInt64BE(2),
        prefix: buffer.toString('utf8', 10, prefixEnd),
        content: buffer.subarray(prefixEnd + 5, prefixEnd + 5 + length),
      };
    }
    case code('O'):
    case code('Y'):
      return { tag: 'ignored' };
    default:
      throw unknown('message', buffer[0]);
  }
}

function decodeUpdate(buffer: Buffer): PgoutputMessage {
  const relationId = buffer.readUInt32BE(1);
  if (buffer[5] === NEW) return { tag: 'update', relationId, before: null, after: tupleAt(buffer, 5, NEW) };
  const before = tupleAt(buffer, 5, KEY, OLD);
  return { tag: 'update', relationId, before, after: tupleAt(buffer, before.end(), NEW) };
}

function tupleAt(buffer: Buffer, at: number, ...kinds: readonly number[]): Tuple {
  if (!kinds.includes(buffer[at]!)) throw unknown('tuple kind', buffer[at]);
  return new Tuple(buffer, at + 1, buffer[at] === KEY);
}

function decodeRelation(buffer: Buffer): Relation {
  let at = 5;
  const text = (): string => {
    const end = buffer.indexOf(0, at);
    const read = buffer.toString('utf8', at, end);
    at = end + 1;
    return read;
  };
  const schema = text();
  const name = text();
  at += 1;
  const count = buffer.readInt16BE(at);
  at += 2;
  const columns: { name: string; isKey: boolean }[] = [];
  for (let i = 0; i < count; i += 1) {
    const isKey = (buffer[at]! & 1) === 1;
    at += 1;
    columns.push({ name: text(), isKey });
    at += 8;
  }
  // The server leaves the name of its own catalog schema out.
  return { id: buffer.readUInt32BE(1), schema: schema === '' ? 'pg_catalog' : schema, name, columns };
}

const unknown = (what: string, byte: number | undefined): FreshetError =>
  new FreshetError({
    code: 'bad-pgoutput',
    message: `expected a pgoutput ${what} of protocol version 1, got byte ${byte === undefined ? 'none' : `0x${byte.toString(16)}`}`,
  });
