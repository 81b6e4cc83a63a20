import pg from 'pg';

export interface HeldTransaction {
  readonly pid: number;
  readonly database: string;
  commit(): Promise<void>;
  /** Also where a test failed before. */
  end(): Promise<void>;
}

/** A writing transaction that somebody left open: what a barrier has to wait for. */
export async function holdTransaction(databaseUrl: string): Promise<HeldTransaction> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'left open' });
  client.on('error', () => {});
  await client.connect();
  await client.query('begin');
  const { rows } = await client.query(
    'select pg_backend_pid() as pid, current_database() as database, pg_current_xact_id()',
  );
  const [{ pid, database }] = rows as [{ pid: number; database: string }];
  return {
    pid,
    database,
    commit: () => client.query('commit').then(() => {}),
    end: () => client.end(),
  };
}
