import { randomBytes } from 'node:crypto';

/** A namespace of its own for every caller: test files share the two Redis servers of a run. */
export const namespace = (): string => `test_${randomBytes(6).toString('hex')}`;
