import { describe, expect, test } from '@jest/globals';
import { createLogs } from '../../observability/logs.ts';
import type { LogLevel } from '../../observability/settings.ts';
import { FreshetError } from '../../shared/errors.ts';
import { allSamples, sampleOf } from '../support/observations.ts';

function started(level: LogLevel, activeIds: () => object | undefined = () => undefined) {
  const lines: string[] = [];
  const logs = createLogs({
    level,
    base: { role: 'worker', process: 'worker-1' },
    activeIds,
    onDropped: () => {},
    destination: { write: line => void lines.push(line) },
  });
  return { logs, lines: () => lines.map(line => JSON.parse(line) as Record<string, unknown>) };
}

describe('logs', () => {
  test('a line says when, who, what and the facts', () => {
    const { logs, lines } = started('info');
    logs.log(
      sampleOf('feed.lost', {
        error: new FreshetError({ code: 'slot-gone', message: 'gone', hint: 'look' }),
      }),
    );
    expect(lines()).toEqual([
      {
        level: 'warn',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        role: 'worker',
        process: 'worker-1',
        event: 'feed.lost',
        feed: 'wal',
        retryInMs: 100,
        err: expect.objectContaining({
          type: 'FreshetError',
          message: 'gone',
          code: 'slot-gone',
          hint: 'look',
        }),
        msg: 'feed lost',
      },
    ]);
  });

  test('reads are never logged, changes only to who looks closely, trouble always', () => {
    const seen = (level: LogLevel) => {
      const { logs, lines } = started(level);
      for (const sample of allSamples) logs.log(sample);
      return lines().map(line => line.event ?? line.msg);
    };
    expect(seen('trace')).toHaveLength(allSamples.length - 2);
    expect(seen('trace')).not.toContain('read.served');
    expect(seen('debug')).toContain('change.applied');
    expect(seen('info')).not.toContain('change.applied');
    expect(seen('warn')).toEqual([
      'mode.changed',
      'own-fence.failed',
      'redis.lost',
      'postgres.lost',
      'feed.lost',
      'change.unreadable',
      'gap.opened',
      'gap.waiting',
      'gap.closed',
      'job.dropped',
      'job.failed',
      'something to know',
    ]);
    expect(seen('error')).toEqual(['change.unreadable', 'job.failed']);
  });

  test('getting better, and the very first start, are no warnings', () => {
    const { logs, lines } = started('warn');
    logs.log(sampleOf('mode.changed', { from: 'BYPASS', to: 'FRESH' }));
    logs.log(sampleOf('gap.opened', { cause: 'first-start' }));
    expect(lines()).toEqual([]);
  });

  test('the span under way is named', () => {
    const { logs, lines } = started('info', () => ({ trace_id: 'aa', span_id: 'bb' }));
    logs.log(sampleOf('note'));
    expect(lines()[0]).toMatchObject({ trace_id: 'aa', span_id: 'bb', msg: 'something to know' });
  });

  test("another session's SQL is not kept: it carries people's data", () => {
    const { logs, lines } = started('info');
    logs.log(sampleOf('gap.waiting'));
    expect(lines()[0]).toMatchObject({
      blockers: [{ pid: 4, database: 'shop', ageSeconds: 61 }],
      waitedMs: 500,
    });
    expect(JSON.stringify(lines())).not.toContain('ann@example.org');
  });
});
