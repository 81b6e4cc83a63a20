import { execFileSync } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import { openRecorder } from '../support/envelope-recorder.ts';
import {
  isRecorded,
  normalised,
  type Recording,
  readRecordings,
  steady,
  writeRecordings,
} from '../support/envelope-recording.ts';
import { hostKafkaChain } from '../support/kafka-chain.ts';
import { startPostgres } from '../support/servers.ts';
import { CASES } from './envelope-cases.ts';

/*
 * Records test/feeds/golden anew from the real connector: `node test/feeds/record-envelopes.ts`. It starts its own
 * Postgres, broker and Connect, and leaves the files alone where nothing but times and ids would change.
 */

const told = ({ name, statements, records, changes }: Recording): object => ({
  name,
  statements,
  records: records.map(normalised),
  changes: changes.map(steady),
});

const postgres = await startPostgres();
const chain = await hostKafkaChain();
try {
  process.env.TEST_POSTGRES_URL = postgres.url;
  process.env.TEST_KAFKA_CHAIN_URL = chain.url;
  const recorder = await openRecorder();
  const recordings: Recording[] = [];
  try {
    for (const one of CASES) recordings.push(await recorder.record(one));
  } finally {
    await recorder.close();
  }
  const former = new Map(isRecorded() ? readRecordings().map(one => [one.name, told(one)]) : []);
  const changed = recordings.filter(one => !isDeepStrictEqual(former.get(one.name), told(one)));
  if (changed.length > 0) {
    const folder = writeRecordings(recorder.common, recordings);
    execFileSync('npx', ['biome', 'format', '--write', folder], { stdio: 'ignore' });
  }
  console.log(
    changed.length === 0
      ? `${recordings.length} recordings, all as they were`
      : `recorded anew: ${changed.map(({ name }) => name).join(', ')}`,
  );
} finally {
  await chain.close();
  await postgres.stop();
}
