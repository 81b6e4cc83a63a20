import type { Query } from '../resources/introspect.ts';
import { PUBLICATION } from '../resources/table-facts.ts';
import { quoteLiteral } from './quote.ts';

const UNDEFINED_OBJECT = '42704';
/** Decoding goes on to the end of a transaction: a large one is not waited for. */
const PEEK_LIMIT_MS = 5_000;
const PEEKED_CHANGES = 1_000;

/**
 * Why a slot that nobody reads now can never be read any further; null where nothing of that kind is known. Up to
 * Postgres 17 the server looks for the publication as of the place where a change lies: a change that was written
 * between DROP and CREATE PUBLICATION is an error, the same one at every attempt, whichever client reads. Only a new
 * slot gets past it. Looks at what the slot gives next without taking it; needs REPLICATION.
 */
export async function unreadableBecause(query: Query, slot: string): Promise<string | null> {
  const args = [quoteLiteral(slot), 'null', PEEKED_CHANGES, "'proto_version', '1'"];
  const options = `'publication_names', ${quoteLiteral(PUBLICATION)}`;
  try {
    // One message, hence one connection and one transaction: the limit ends with it.
    await query(`set local statement_timeout = ${PEEK_LIMIT_MS};
      select count(*) from pg_logical_slot_peek_binary_changes(${args.join(', ')}, ${options})`);
    return null;
  } catch (error) {
    // Anything else (no right, in use, too much of it) says nothing about the slot.
    const { code, message } = error as { code?: string; message: string };
    if (code !== UNDEFINED_OBJECT) return null;
    // While there is no publication at all, a new slot would come to the same end.
    const { rows } = await query('select from pg_publication where pubname = $1', [PUBLICATION]);
    return rows.length === 0 ? null : message;
  }
}
