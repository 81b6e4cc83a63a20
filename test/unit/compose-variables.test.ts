// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is what the syntax under test looks like
import { describe, expect, test } from '@jest/globals';
import { durationMs, interpolate, readCompose, variablesIn } from '../support/compose.ts';

describe('variables of a compose file, as Docker Compose reads them', () => {
  test.each([
    ['${A}', 'a'],
    ['$A/x', 'a/x'],
    ['${NONE:-x}', 'x'],
    ['${EMPTY:-x}', 'x'],
    ['${EMPTY-x}', ''],
    ['${NONE-x}', 'x'],
    ['${NONE:-}', ''],
    ['${A:-x}', 'a'],
    ['${A:?needed}', 'a'],
    ['${EMPTY?needed}', ''],
    ['$$A ${A}$$', '$A a$'],
    ['5$ and $1', '5$ and $1'],
  ])('%s is %j', (text, expected) => {
    expect(interpolate(text, { A: 'a', EMPTY: '' })).toBe(expected);
  });

  test.each(['${NONE:?say why}', '${EMPTY:?say why}', '${NONE?say why}'])('%s is refused', text => {
    expect(() => interpolate(text, { EMPTY: '' })).toThrow(/(NONE|EMPTY) is missing a value: say why/);
  });

  test('a plain name that is not set is refused, where Compose would only warn', () => {
    expect(() => interpolate('${NONE}', {})).toThrow('NONE');
  });

  test('the names are found, and escaped ones are none', () => {
    expect(variablesIn('${A:-x} $B $$C ${D:?e}')).toEqual(['A', 'B', 'D']);
  });

  test('a name without a value is passed on where it is set, and left out where it is not', () => {
    const text = [
      'name: x',
      'volumes: {}',
      'secrets: {}',
      'configs: {}',
      'services: { a: { image: i, environment: { SET: , UNSET: , NUMBER: 1 } } }',
    ].join('\n');
    expect(readCompose(text, { SET: 's' }).services.a!.environment).toEqual({ SET: 's', NUMBER: '1' });
  });

  test('durations', () => {
    expect([durationMs('1m'), durationMs('1m30s'), durationMs('5s')]).toEqual([60_000, 90_000, 5_000]);
  });
});
