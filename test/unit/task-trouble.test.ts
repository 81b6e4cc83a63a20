import { describe, expect, test } from '@jest/globals';
import { readTrace } from '../../connectors/task-trouble.ts';

/** As Connect 4.3.1 and Debezium 3.7.0 tell them, with their frames. */
const frames = '\tat io.debezium.A.b(A.java:1)\n\t... 7 more';
const trace = (...causes: readonly string[]): string => causes.join(`\n${frames}\nCaused by: `);

describe('the trace of a failed task', () => {
  test('is read from its innermost cause', () => {
    const { message, hint } = readTrace(
      trace(
        'org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception from producer send callback',
        'org.apache.kafka.common.errors.RecordTooLargeException: The message is 38400778 bytes when serialized which is larger than 33554432, which is the value of the max.request.size configuration.',
      ),
    );
    expect(message).toMatch(/^The message is 38400778 bytes .* max\.request\.size configuration\.$/);
    expect(hint).toContain('max.message.bytes');
  });

  test('of a slot that lost its place is told without all that Debezium knows of the place', () => {
    const { message, hint } = readTrace(
      trace(
        "io.debezium.DebeziumException: The connector is trying to read change stream starting at PostgresOffsetContext [sourceInfo=source_info[server='freshet'db='d', lsn=LSN{0/17C98F8}], incrementalSnapshotContext=IncrementalSnapshotContext [windowOpened=false, maximumKey=null]], but this is no longer available on the server. Reconfigure the connector to use a snapshot mode when needed.",
      ),
    );
    expect(message).toMatch(
      /^The connector is trying to read change stream starting at the place it has stored, but this is no longer available on the server/,
    );
    expect(hint).toContain('begins anew by itself');
  });

  test.each([
    [
      ['x.E: An exception occurred', 'y.E: Publication autocreation is disabled, please create one.'],
      'freshet init',
    ],
    [
      [
        'a.ConnectException: Non-retriable failure obtaining database encoding; failing task.',
        'org.postgresql.util.PSQLException: FATAL: password authentication failed for user "postgres"',
      ],
      'right password',
    ],
    [
      [
        'x.E: Could not start',
        'org.postgresql.util.PSQLException: ERROR: replication slot "s" is active for PID 1',
      ],
      'Somebody else',
    ],
    [['org.postgresql.util.PSQLException: FATAL: permission denied to start WAL sender'], 'REPLICATION'],
    [
      [
        'org.postgresql.util.PSQLException: ERROR: can no longer access replication slot "s"\n  Detail: This replication slot has been invalidated due to "wal_removed".',
      ],
      'lost its place',
    ],
    [['java.lang.OutOfMemoryError: Java heap space'], 'more memory'],
  ])('%j gets a hint with "%s"', (causes, expected) => {
    expect(readTrace(trace(...causes)).hint).toContain(expected);
  });

  test('that nobody has seen before is told as it is', () => {
    expect(readTrace('java.lang.IllegalStateException: something new')).toEqual({
      message: 'something new',
      hint: null,
    });
    expect(readTrace('java.lang.NullPointerException\n\tat a.b')).toEqual({
      message: 'java.lang.NullPointerException',
      hint: null,
    });
    expect(readTrace('').message).toBe('');
  });
});
