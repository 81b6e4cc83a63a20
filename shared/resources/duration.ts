const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds of `'90s'`, `'1.5h'`, `'250ms'` or `0`; null for everything else. */
export function parseDuration(duration: unknown): number | null {
  if (duration === 0) return 0;
  const [, count, unit] =
    (typeof duration === 'string' && /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration)) || [];
  if (count === undefined || unit === undefined) return null;
  const durationMs = Math.round(Number(count) * UNITS_MS[unit]!);
  return Number.isSafeInteger(durationMs) ? durationMs : null;
}
