import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openRecorder, type Recorder } from '../support/envelope-recorder.ts';
import {
  changesOf,
  decode,
  halved,
  normalised,
  readRecordings,
  steady,
} from '../support/envelope-recording.ts';
import { kafkaStartLimitMs } from '../support/kafka-chain.ts';
import { CASES } from './envelope-cases.ts';

const golden = new Map(readRecordings().map(one => [one.name, one]));

describe('the connector that runs here', () => {
  let recorder: Recorder;
  beforeAll(async () => {
    recorder = await openRecorder();
  }, kafkaStartLimitMs);
  afterAll(() => recorder?.close());

  // One after the other, on the same tables, as they were recorded.
  test.each(CASES)('writes what was recorded, and says what the log says: $name', async one => {
    const live = await recorder.record(one);
    const recorded = golden.get(one.name)!;
    expect(live.records.map(normalised)).toEqual(recorded.records.map(normalised));
    const decoded = halved(changesOf(decode(recorder.common, live.records)), recorder.tables);
    expect(decoded).toEqual(live.changes);
    expect(decoded.map(steady)).toEqual(recorded.changes.map(steady));
  });
});
