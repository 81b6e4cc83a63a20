import type { Response } from 'express';
import { FreshetError, isRetryable } from '../../shared/errors.ts';
import type { WriteOutcome, Written } from '../../shared/origin/write.ts';
import { rowPath } from '../../shared/resources/keys.ts';
import type { Resource } from '../../shared/resources/resource.ts';
import { writeCacheStatus } from '../http/cache-status.ts';
import { ProblemError } from '../http/problem.ts';
import { preconditionFailed } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { ownFence } from './own-fence.ts';

type Op = 'insert' | 'update' | 'delete';

/** A write to one row: what the request says of it, and what does it. */
export interface Write {
  readonly resource: Resource;
  readonly op: Op;
  /** The key in the path; null where the database gives it. */
  readonly key: readonly string[] | null;
  /** `traceparent` of the request (W3C Trace Context), which the write's span then continues. */
  readonly traceparent: string | undefined;
  readonly run: () => Promise<WriteOutcome>;
}

/** What the answer says of a write that is done. */
export interface Concluded {
  readonly written: Written;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Every write, from the transaction to what its answer says: COMMIT, own fence, refill.
 * Null when there is no such row; @throws ProblemError 412, and whatever the transaction throws.
 */
export function conclude(ctx: ApiContext, write: Write): Promise<Concluded | null> {
  const { resource, op, key } = write;
  const attributes = { resource: resource.name, op };
  const run = async (): Promise<Concluded | null> => {
    const startMs = performance.now();
    const outcome = await write.run().catch(error => refuse(ctx, error));
    if (outcome.status === 'absent') return null;
    if (outcome.status === 'refused') throw new ProblemError(preconditionFailed(outcome.etag));
    const { written } = outcome;
    ctx.observer.emit({
      type: 'write.committed',
      resource: resource.name,
      op,
      xid: String(written.xid),
      durationMs: performance.now() - startMs,
    });
    await ownFence(ctx, resource, key === null ? [written.key] : [key, written.key], written.xid);
    const refill =
      resource.write === 'write-through' && op !== 'delete' ? await refillRow(ctx, resource, written) : null;
    return { written, headers: headersOf(ctx, written, refill) };
  };
  return ctx.observer.trace('write', attributes, run, write.traceparent);
}

/** The caller may try again, and then meets the definitions of now. */
async function refuse(ctx: ApiContext, error: unknown): Promise<never> {
  if (error instanceof FreshetError && error.code === 'definition-changed') await ctx.refreshCatalog();
  throw error;
}

/**
 * Through a lease and a reading statement like every other fill. What the transaction returned is never stored: it
 * has no snapshot that says which other writes it knows of.
 */
async function refillRow(ctx: ApiContext, resource: Resource, { key, xid }: Written): Promise<string> {
  try {
    const filled = await ctx.filler.fill(resource, key, { mustSee: xid });
    return filled.status === 'refused' ? filled.reason : filled.status;
  } catch (error) {
    // The write is done; the next reader fills.
    if (!isRetryable(error)) {
      ctx.observer.emit({ type: 'note', level: 'error', text: `refilling ${resource.name} failed`, error });
    }
    return 'failed';
  }
}

/** `Freshet-Token` names the write for those who want to read it (RFC 9110 has no field for that). */
function headersOf(
  { system, observer }: ApiContext,
  { xid }: Written,
  refill: string | null,
): Record<string, string> {
  const traceparent = observer.traceparent();
  return {
    'Freshet-Token': `v1.${system.id}.${system.timeline}.${xid}`,
    'Cache-Status': writeCacheStatus(refill),
    'Cache-Control': 'no-store',
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}

/**
 * The new representation as the answer. `validator: false` keeps the ETag back: an answer to PUT may only carry one
 * when the body was stored as it came (RFC 9110 9.3.4). With POST and PATCH it names the new state (8.8.3), and
 * Freshet-Version says which state that is in any case.
 */
export function sendWritten(
  res: Response,
  status: 200 | 201,
  resource: Resource,
  { written, headers }: Concluded,
  { validator }: { validator: boolean },
): void {
  const { body, etag } = written.representation!;
  const path = `/${resource.name}/${rowPath(written.key)}`;
  res.writeHead(status, {
    ...headers,
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': body.length,
    'Content-Location': path,
    ...(status === 201 ? { Location: path } : {}),
    'Freshet-Version': etag.slice(1, -1),
    ...(validator ? { ETag: etag } : {}),
  });
  res.end(body);
}
