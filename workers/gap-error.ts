import type { Gap } from './feed/feed.ts';

/** Thrown where it shows that changes may have been missed. Nothing may be echoed until the gap is closed. */
export class GapError extends Error {
  readonly gap: Gap;

  constructor(gap: Gap) {
    super(`${gap.cause}: ${gap.detail}`);
    this.name = 'GapError';
    this.gap = gap;
  }
}
