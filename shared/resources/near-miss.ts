import { distance } from 'fastest-levenshtein';

/** A name counts as meant when at most this many letters, and at most a third of it, are different. */
const LETTERS_LIMIT = 3;

/** The known name that was probably meant, or null. */
export function nearMiss(name: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  let least = Math.min(LETTERS_LIMIT, Math.ceil(name.length / 3)) + 1;
  for (const candidate of known) {
    const letters = distance(name.toLowerCase(), candidate.toLowerCase());
    if (letters < least) [best, least] = [candidate, letters];
  }
  return best;
}
