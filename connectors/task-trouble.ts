export interface TaskTrouble {
  /** What went wrong in the end: the innermost cause's own words. */
  readonly message: string;
  /** What usually is behind it; null where nobody knows better. */
  readonly hint: string | null;
}

const LONGEST_MESSAGE = 400;

/** The usual causes, by what Connect, Debezium or Postgres say of them. */
const usual: readonly (readonly [said: RegExp, hint: string])[] = [
  [
    /no longer available on the server|has already been removed|can no longer (get|access)|slot .* (was|has been) invalidated/i,
    'The slot lost its place, or was dropped or made anew: changes are missing. A worker that runs (with FRESHET_CONNECT_URL) begins anew by itself: new epoch, new slot, the connector after it.',
  ],
  [
    /replication slot .* is active/i,
    'Somebody else reads the slot: another connector, another Connect on the same names. pg_replication_slots shows the process.',
  ],
  [
    /password authentication failed|no password was provided|no pg_hba\.conf entry/i,
    'Connect did not get the right password: is the file where the reference says, on the machine of Connect, with the key of that name, and does its worker have that config provider?',
  ],
  [
    /could not read properties from file|not permitted to access|allowed\.paths/i,
    'The password file must exist on the machine of Connect, in a folder that its worker allows (config.providers.file.param.allowed.paths).',
  ],
  [
    /publication .* does not exist|publication autocreation is disabled/i,
    '`freshet init` prints the statement that makes the publication.',
  ],
  [
    /must be superuser or replication role|permission denied to (start WAL sender|use replication slots)|required to (start|use|create)/i,
    'The role needs REPLICATION: connectors/roles.sql has one with nothing else.',
  ],
  [
    /RecordTooLarge|larger than .* max\.request\.size/i,
    'A change is larger than a message may be. Raise max.message.bytes of the topic and producer.override.max.request.size of the connector: connectors/README.md.',
  ],
  [
    /OutOfMemoryError|Java heap space/i,
    'Connect needs more memory (KAFKA_HEAP_OPTS) for rows this large, or less in its queues (max.queue.size.in.bytes).',
  ],
  [
    /UnknownTopicOrPartition|not present in metadata/i,
    'A topic is missing: `freshet connector register` makes it.',
  ],
  [
    /UnknownHost|connection (attempt )?(to \S+ )?(failed|refused)|the connection attempt failed/i,
    'Connect must reach Postgres under the host and port it was given, from where Connect runs.',
  ],
  [
    /not allowed.*override|override\.policy/i,
    'The worker of Connect needs connector.client.config.override.policy=All.',
  ],
];

export const hintFor = (said: string): string | null =>
  usual.find(([pattern]) => pattern.test(said))?.[1] ?? null;

/** Reads a stack trace of Connect. */
export function readTrace(trace: string): TaskTrouble {
  const causes = trace
    .split('\n')
    .filter(line => /^\S/.test(line))
    .map(line => line.replace(/^Caused by: /, ''));
  const innermost = causes.at(-1) ?? trace;
  const message = (/^[\w.$]+(?:Exception|Error)?: (.+)$/.exec(innermost)?.[1] ?? innermost)
    // Debezium prints all that it knows of its position.
    .replace(/PostgresOffsetContext \[.*\]/, 'the place it has stored')
    .trim();
  return { message: message.slice(0, LONGEST_MESSAGE), hint: hintFor(trace) };
}
