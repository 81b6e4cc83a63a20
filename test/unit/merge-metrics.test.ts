import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { mergeMetrics } from '../../observability/merge-metrics.ts';
import { parseExposition } from '../support/exposition.ts';

const exposition = (process: string, hits: number) => `# HELP hits_total Hits.
# TYPE hits_total counter
hits_total{process="${process}"} ${hits}
# HELP lag_seconds Lag.
# TYPE lag_seconds histogram
lag_seconds_count{process="${process}"} 2
lag_seconds_sum{process="${process}"} 0.3
lag_seconds_bucket{process="${process}",le="0.1"} 1
lag_seconds_bucket{process="${process}",le="+Inf"} 2
`;

describe('mergeMetrics', () => {
  test('families stand once, with the samples of every process', () => {
    const merged = mergeMetrics([exposition('a', 3), exposition('b', 4)]);
    const families = parseExposition(merged);
    expect([...families.keys()]).toEqual(['hits_total', 'lag_seconds']);
    expect(Object.fromEntries(families.get('hits_total')!.samples)).toEqual({
      'hits_total{process="a"}': 3,
      'hits_total{process="b"}': 4,
    });
    expect(families.get('hits_total')!.help).toBe('Hits.');
    expect(families.get('lag_seconds')!.samples.size).toBe(8);
  });

  test('a series that two of them expose is taken from the first', () => {
    const families = parseExposition(mergeMetrics([exposition('a', 3), exposition('a', 9)]));
    expect(families.get('hits_total')!.samples.get('hits_total{process="a"}')).toBe(3);
  });

  test('a family of another type is left out, the rest of its exposition stays', () => {
    const other = '# TYPE hits_total gauge\nhits_total{process="b"} 1\n# TYPE up gauge\nup 1\n';
    const families = parseExposition(mergeMetrics([exposition('a', 3), other]));
    expect([...families.get('hits_total')!.samples.keys()]).toEqual(['hits_total{process="a"}']);
    expect(families.get('up')!.samples.get('up')).toBe(1);
  });

  test('a counter whose name ends in _count is a family of its own', () => {
    const odd = '# TYPE lag_seconds_count counter\nlag_seconds_count{process="z"} 1\n';
    const families = parseExposition(mergeMetrics([odd, '# TYPE job_count gauge\njob_count 7\n']));
    expect([...families.keys()]).toEqual(['lag_seconds_count', 'job_count']);
  });

  test('labels may hold braces, quotes, commas and spaces; values infinities and NaN', () => {
    const lines = [
      'odd{path="/a b",q="say \\"hi\\"}, {x",n="\\\\\\n"} 1',
      'top{process="a"} +Inf',
      'low -Inf',
      'none NaN',
      'timed{a="b"} 3 1763700000000',
    ];
    const merged = mergeMetrics([`${lines.join('\n')}\n`]);
    expect(merged.trimEnd().split('\n')).toEqual(lines);
  });

  test('what is no exposition, such as an error page, adds nothing', () => {
    expect(mergeMetrics(['<html>502 Bad Gateway</html>\n', '', '# no registered metrics'])).toBe('');
    expect(mergeMetrics([])).toBe('');
  });

  test('whatever is merged is valid, keeps every series once, and merging again changes nothing', () => {
    const label = fc
      .string({ maxLength: 6 })
      .map(text => JSON.stringify(text.replaceAll(/[^\x20-\x7e]/g, '')));
    const family = fc.record({
      name: fc.constantFrom('a_total', 'b', 'a', 'a_count'),
      type: fc.constantFrom('counter', 'gauge', null),
      series: fc.uniqueArray(fc.tuple(label, fc.integer()), { selector: ([text]) => text, maxLength: 4 }),
    });
    const one = fc
      .uniqueArray(family, { selector: each => each.name, maxLength: 4 })
      .map(families =>
        families
          .map(
            ({ name, type, series }) =>
              `# HELP ${name} ${name}\n${type ? `# TYPE ${name} ${type}\n` : ''}` +
              series.map(([text, value]) => `${name}{l=${text}} ${value}\n`).join(''),
          )
          .join(''),
      );
    fc.assert(
      fc.property(fc.array(one, { maxLength: 4 }), expositions => {
        const merged = mergeMetrics(expositions);
        if (merged !== '') parseExposition(merged);
        expect(mergeMetrics([merged, ...expositions])).toBe(merged);
      }),
    );
  });
});
