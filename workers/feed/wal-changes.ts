import type { Xid } from '../../shared/protocol/xid.ts';
import { FIRST_NORMAL_XID, widen, XID_LIMIT } from '../../shared/protocol/xid.ts';
import { qualifiedName } from '../../shared/resources/keys.ts';
import type { TableShape } from '../../shared/resources/resource.ts';
import { BEAT_PREFIX, parseBeat } from './beat-message.ts';
import type { Change, FeedItem, Image } from './feed.ts';
import { formatLsn } from './lsn.ts';
import {
  decodePgoutput,
  type PgoutputMessage,
  type Relation,
  type Tuple,
  type TupleValue,
} from './pgoutput.ts';

export interface WalChangesOptions {
  /** Tables that are served, by qualified name; others are passed over. */
  readonly tables: () => ReadonlyMap<string, TableShape>;
  /** Any recent 64-bit transaction id, to widen the stream's 32 bits by. */
  readonly reference: () => Xid;
  /** Up to here everything was settled once; 0 while that is not known. */
  readonly settledBefore: () => bigint;
  /** Whose beats count. */
  readonly namespace: string;
  readonly now: () => number;
}

/** A relation as a stream described it, matched with the served table of that name. */
interface Source {
  readonly relation: Relation;
  readonly qualified: string;
  readonly shape: TableShape | null;
  /** Places of the primary key's columns in the relation, ascending, and the order that brings them into key order. */
  readonly positions: readonly number[];
  readonly order: readonly number[];
  /** Why the table's changes cannot be told apart by key; null when they can. */
  readonly problem: string | null;
}

/** Turns the messages of one replication stream into feed items. Pure but for the clock and the reference it is given. */
export class WalChanges {
  readonly #options: WalChangesOptions;
  readonly #sources = new Map<number, Source>();
  #tables: ReadonlyMap<string, TableShape> | null = null;
  #xid: Xid = 0n;
  #committedMs = 0;

  constructor(options: WalChangesOptions) {
    this.#options = options;
  }

  /** Items of one message. Never throws: what cannot be read is an item too. */
  read(payload: Buffer, lsn: bigint): FeedItem[] {
    let table: string | null = null;
    try {
      const message = decodePgoutput(payload);
      const source = 'relationId' in message ? this.#source(message.relationId) : null;
      if (source && !source.shape) return [];
      table = source?.qualified ?? null;
      return this.#items(message, source, lsn);
    } catch (error) {
      const xid = this.#xid === 0n ? null : this.#xid;
      return [
        {
          kind: 'unreadable',
          partition: 0,
          table,
          xid,
          place: formatLsn(lsn),
          raw: Buffer.from(payload),
          error,
        },
      ];
    }
  }

  /**
   * Everything up to `lsn` was handed over. A server that shuts down waits until that much is acknowledged, and it
   * may be more than the last change: other databases and the server itself write to the log too.
   */
  upTo(lsn: bigint): FeedItem[] {
    return this.#xid === 0n ? [this.#mark(lsn)] : [];
  }

  #mark(lsn: bigint): FeedItem {
    return { kind: 'mark', partition: 0, position: formatLsn(lsn), committedMs: this.#options.now() };
  }

  #items(message: PgoutputMessage, source: Source | null, lsn: bigint): FeedItem[] {
    switch (message.tag) {
      case 'begin':
        this.#xid = 0n;
        this.#xid = checkedXid(widen(message.xid, this.#options.reference()));
        this.#committedMs = message.committedMs;
        return [];
      case 'commit':
        this.#xid = 0n;
        return [
          {
            kind: 'mark',
            partition: 0,
            position: formatLsn(message.endLsn),
            committedMs: message.committedMs,
          },
        ];
      case 'relation':
        this.#sources.set(message.relation.id, this.#match(message.relation));
        return [];
      case 'insert':
        return [this.#change('insert', source!, lsn, null, message.after)];
      case 'update':
        return [this.#change('update', source!, lsn, message.before, message.after)];
      case 'delete':
        return [this.#change('delete', source!, lsn, message.before, null)];
      case 'truncate':
        return message.relationIds
          .map(id => this.#source(id))
          .filter(({ shape }) => shape !== null)
          .map(({ qualified }) => this.#item({ ...this.#frame('truncate', qualified, lsn), ...NO_ROW }));
      case 'message': {
        if (!message.prefix.startsWith(BEAT_PREFIX)) return [];
        const beat = parseBeat(message.content, this.#options.namespace);
        if (beat === null) return message.transactional ? [] : [this.#mark(message.lsn)];
        const { settledBefore } = this.#options;
        const items: FeedItem[] = [
          {
            kind: 'beat',
            partition: 0,
            beat,
            get again() {
              return message.lsn <= settledBefore();
            },
          },
        ];
        // One that belongs to no transaction is a place to acknowledge by itself.
        if (!message.transactional) items.push(this.#mark(message.lsn));
        return items;
      }
      case 'ignored':
        return [];
    }
  }

  #change(
    op: 'insert' | 'update' | 'delete',
    source: Source,
    lsn: bigint,
    before: Tuple | null,
    after: Tuple | null,
  ): FeedItem {
    if (source.problem !== null) throw new TypeError(source.problem);
    const keyBefore = before && keyOf(source, before.pick(source.positions));
    let keyAfter: readonly string[] | null = null;
    if (after) {
      const picked = after.pick(source.positions);
      // A part of the key long enough to be stored out of line and not touched is in the image before, or nowhere.
      const old = picked.includes(undefined) && before ? before.pick(source.positions) : picked;
      const parts = picked.map((value, i) => (value === undefined ? old[i] : value));
      keyAfter = keyOf(source, parts);
    }
    const { relation } = source;
    return this.#item({
      ...this.#frame(op, source.qualified, lsn),
      keyBefore,
      keyAfter,
      get before(): Image | null {
        return before && imageOf(relation, before);
      },
      get after(): Image | null {
        return after && imageOf(relation, after);
      },
    });
  }

  #frame(
    op: Change['op'],
    table: string,
    lsn: bigint,
  ): Pick<Change, 'op' | 'table' | 'xid' | 'lsn' | 'committedMs'> {
    return { op, table, xid: this.#xid, lsn, committedMs: this.#committedMs };
  }

  #item(change: Change): FeedItem {
    return { kind: 'change', partition: 0, change, receivedMs: this.#options.now() };
  }

  #source(id: number): Source {
    const tables = this.#options.tables();
    if (tables !== this.#tables) {
      // Resources were read again: what is served, and by which key, may be another thing now.
      for (const [known, { relation }] of this.#sources)
        this.#sources.set(known, this.#match(relation, tables));
      this.#tables = tables;
    }
    const source = this.#sources.get(id);
    if (!source) throw new TypeError(`the stream speaks of relation ${id} without having described it`);
    return source;
  }

  #match(relation: Relation, tables = this.#options.tables()): Source {
    const qualified = qualifiedName(relation.schema, relation.name);
    const shape = tables.get(qualified) ?? null;
    const places =
      shape?.key.map(column => relation.columns.findIndex(({ name }) => name === column.name)) ?? [];
    const positions = places.toSorted((a, b) => a - b);
    const order = places.map(place => positions.indexOf(place));
    const problem = places.includes(-1)
      ? `the stream's ${qualified} lacks a column of its primary key`
      : null;
    return { relation, qualified, shape, positions, order, problem };
  }
}

const NO_ROW = { keyBefore: null, keyAfter: null, before: null, after: null };

function keyOf(source: Source, picked: readonly TupleValue[]): readonly string[] {
  return source.order.map(i => {
    const value = picked[i];
    if (typeof value !== 'string')
      throw new TypeError(`a change of ${source.qualified} came without its primary key`);
    return value;
  });
}

function imageOf(relation: Relation, tuple: Tuple): Image {
  const image: Record<string, string | null> = {};
  tuple.values().forEach((value, i) => {
    const { name, isKey } = relation.columns[i]!;
    if (value !== undefined && (isKey || !tuple.keyOnly)) image[name] = value;
  });
  return image;
}

/** @throws RangeError for an id that no transaction of this database can have. */
function checkedXid(xid: Xid): Xid {
  if (xid >= FIRST_NORMAL_XID && xid < XID_LIMIT) return xid;
  throw new RangeError(`expected a transaction id from ${FIRST_NORMAL_XID} to ${XID_LIMIT}, got ${xid}`);
}
