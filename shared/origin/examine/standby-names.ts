/**
 * The names in a value of `synchronous_standby_names`: `a, b`, `2 (a, b)`, `FIRST 1 (a)`, `ANY 2 ("my standby", *)`.
 */
export function standbyNames(value: string): string[] {
  const list = /^\s*(?:(?:first|any)\s+)?\d+\s*\((.*)\)\s*$/is.exec(value)?.[1] ?? value;
  return [...list.matchAll(/"((?:[^"]|"")*)"|([^\s,"]+)/g)].map(([, quoted, plain]) =>
    quoted === undefined ? plain! : quoted.replaceAll('""', '"'),
  );
}
