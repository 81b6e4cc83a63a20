import type { Query } from '../../resources/introspect.ts';
import { askFacts, type Finding, good, missing, note } from './finding.ts';
import { standbyNames } from './standby-names.ts';

/** Below it a logical stream brings no messages, hence no beats. */
const OLDEST = 14;
/** The newest that the tests run on. */
const NEWEST = 18;

export interface ServerQuestion {
  /** Slot of the feed, which takes a place of its own as long as it is not there; null: not asked for. */
  readonly slot: string | null;
  /** How the walsender of the feed is called in `pg_stat_replication`. */
  readonly walsender: string;
}

interface ServerFacts {
  readonly isStandby: boolean;
  readonly walLevel: string;
  readonly keepSize: string;
  readonly slots: number;
  readonly slotsLimit: number;
  readonly hasSlot: boolean;
  readonly isSlotActive: boolean;
  readonly senders: number;
  readonly sendersLimit: number;
  readonly synchronous: string;
  /** Names of the physical standbys that are connected now. */
  readonly standbys: readonly string[];
}

const FACTS = `
  select json_build_object(
    'isStandby', pg_is_in_recovery(),
    'walLevel', current_setting('wal_level'),
    'keepSize', current_setting('max_slot_wal_keep_size'),
    'slots', (select count(*) from pg_replication_slots),
    'slotsLimit', current_setting('max_replication_slots')::int,
    'hasSlot', exists (select from pg_replication_slots where slot_name = $1),
    'isSlotActive', exists (select from pg_replication_slots where slot_name = $1 and active),
    'senders', (select count(*) from pg_stat_replication),
    'sendersLimit', current_setting('max_wal_senders')::int,
    'synchronous', current_setting('synchronous_standby_names'),
    'standbys', coalesce((
      select json_agg(distinct r.application_name) from pg_stat_replication r
      where r.application_name <> $2
        and not exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_type = 'logical')
    ), '[]'::json)
  )::text as facts`;

const VERSION = `
  select json_build_object(
    'major', current_setting('server_version_num')::int / 10000,
    'text', current_setting('server_version')
  )::text as facts`;

interface Version {
  readonly major: number;
  readonly text: string;
}

/** A server that is too old for the other questions; null: it is not. */
export async function refuseOld(query: Query): Promise<Finding | null> {
  const { major } = await askFacts<Version>(query, VERSION);
  if (major >= OLDEST) return null;
  return missing(`Postgres ${OLDEST} or newer is needed, this is ${major}`, {
    why: 'Older ones put no messages into a logical stream: nothing would prove how far it was followed.',
    mend: 'Upgrade the server.',
  });
}

/** The server as a whole: what a feed needs of it, whichever database it follows. */
export async function examineServer(query: Query, question: ServerQuestion): Promise<Finding[]> {
  const version = await askFacts<Version>(query, VERSION);
  const facts = await askFacts<ServerFacts>(query, FACTS, [question.slot, question.walsender]);
  const about = `Postgres ${version.text}, ${facts.isStandby ? 'a standby' : 'a primary'}, wal_level ${facts.walLevel}`;
  const newer = note(
    `Postgres ${version.major} is newer than what Freshet is tested with (${OLDEST} to ${NEWEST})`,
  );
  const wrong = [
    ...checkRole(facts),
    ...checkLog(facts),
    ...(question.slot === null ? [] : checkPlaces(facts)),
    ...checkSynchronous(facts, question.walsender),
  ];
  return [...(wrong.length === 0 ? [good(about)] : []), ...(version.major > NEWEST ? [newer] : []), ...wrong];
}

function checkRole({ isStandby }: ServerFacts): Finding[] {
  if (!isStandby) return [];
  return [
    missing('this server is a standby, the primary is needed', {
      why: 'A standby shows a commit later than the log tells of it: what is read there may be old already.',
      mend: 'Let DATABASE_URL lead to the primary.',
    }),
  ];
}

function checkLog({ walLevel, keepSize }: ServerFacts): Finding[] {
  const found: Finding[] = [];
  if (walLevel !== 'logical') {
    found.push(
      missing(`wal_level is ${walLevel}, logical is needed (takes a restart of Postgres)`, {
        why: 'Only then the log says which rows a transaction changed.',
        sql: [`alter system set wal_level = 'logical'`],
        mend: 'Restart Postgres afterwards. A managed server has a setting of its own for it: docs/doctor.md.',
      }),
    );
  }
  if (keepSize === '-1') {
    found.push(
      missing('max_slot_wal_keep_size is unlimited', {
        why: 'An abandoned slot would fill the disk and stop Postgres for good. With a limit the slot is lost instead, and Freshet makes a new one by itself.',
        sql: [`alter system set max_slot_wal_keep_size = '10GB'`, 'select pg_reload_conf()'],
      }),
    );
  }
  return found;
}

/** Places for one slot and one walsender more; a worker that runs has them already. */
function checkPlaces(facts: ServerFacts): Finding[] {
  const spare = 4;
  const found: Finding[] = [];
  const full = (setting: string, what: string, limit: number, why: string): Finding =>
    missing(`no ${what} is free: all ${limit} of ${setting} are taken`, {
      why,
      sql: [`alter system set ${setting} = ${limit + spare}`],
      mend: 'Restart Postgres afterwards; or end what nobody needs any more (pg_replication_slots, pg_stat_replication).',
    });
  if (!facts.hasSlot && facts.slots >= facts.slotsLimit)
    found.push(
      full('max_replication_slots', 'replication slot', facts.slotsLimit, 'The feed reads through a slot.'),
    );
  if (!facts.isSlotActive && facts.senders >= facts.sendersLimit)
    found.push(full('max_wal_senders', 'walsender', facts.sendersLimit, 'The feed is served by one.'));
  return found;
}

/** A logical walsender counts for `synchronous_standby_names` like any other, by its application name. */
function checkSynchronous({ synchronous, standbys }: ServerFacts, walsender: string): Finding[] {
  const named = standbyNames(synchronous);
  const isNamed = named.some(name => name === '*' || name.toLowerCase() === walsender.toLowerCase());
  if (!isNamed) return [];
  const quoted = standbys.map(name => `"${name.replaceAll('"', '""')}"`).join(', ');
  return [
    missing(
      `synchronous_standby_names = '${synchronous}' takes our walsender ("${walsender}") for a synchronous standby`,
      {
        why: 'Every commit of this server would wait until Freshet has followed it.',
        sql:
          standbys.length === 0
            ? []
            : [
                `alter system set synchronous_standby_names = 'FIRST 1 (${quoted.replaceAll("'", "''")})'`,
                'select pg_reload_conf()',
              ],
        mend: 'Name the standbys that commits are to wait for, or none.',
      },
    ),
  ];
}
