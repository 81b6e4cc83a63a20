import type { TopicAdmin, TopicOptions } from './topics.ts';

/** One statement to the database that is followed; every value comes as Postgres prints it or as the driver parses it. */
export type Query = (
  text: string,
  values: readonly unknown[],
) => Promise<{ readonly rows: readonly Record<string, unknown>[] }>;

export interface RegisterOptions {
  /** Connect's REST interface: `http://host:8083`. */
  readonly connectUrl: string;
  /** Where and as whom **Connect** reaches the database; its password is never sent, nor printed. */
  readonly databaseUrl: string;
  /** The setting FRESHET_NAMESPACE. */
  readonly namespace: string | null;
  /**
   * How Connect finds the password: a reference to a config provider of its worker, `${file:/path:password}`
   * (`passwordFile` makes one of a path **on Connect's machine**), `${env:NAME}`, … Null where none is needed.
   */
  readonly passwordReference: string | null;
  readonly topics: TopicAdmin;
  readonly topicOptions?: TopicOptions;
  /** Asks the same database, from here. */
  readonly query: Query;
  /** Make the slot where it is missing; otherwise its absence is an error with the SQL. Default: false. */
  readonly createSlot?: boolean;
  /** Further settings of the connector, from a list that may be changed (connector-config.ts). */
  readonly settings?: Readonly<Record<string, string>>;
  readonly say?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface Registered {
  readonly connector: string;
  readonly outcome: 'created' | 'changed' | 'unchanged';
}
