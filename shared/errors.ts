/**
 * The one error class that people may read. A library's own error is wrapped where its client lives
 * (Redis in the store, Postgres in the origin), and there it is decided whether trying again can help.
 */
export interface Trouble {
  /** Stable word that scripts and problem documents carry, kebab-case. */
  readonly code: string;
  /** What was expected, and what came. */
  readonly message: string;
  /** The next step, as one would tell a colleague. */
  readonly hint?: string;
  /** Whether the same call can succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

export class FreshetError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(trouble: Trouble) {
    super(trouble.message, { cause: trouble.cause });
    this.name = 'FreshetError';
    this.code = trouble.code;
    this.hint = trouble.hint;
    this.retryable = trouble.retryable ?? false;
  }
}

export const isRetryable = (error: unknown): boolean => error instanceof FreshetError && error.retryable;

/** One line for a log or a terminal: message, then the hint where there is one. */
export function describe(error: unknown): string {
  if (error instanceof FreshetError && error.hint) return `${error.message}\n  ${error.hint}`;
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
