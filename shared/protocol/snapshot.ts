import type { Xid } from './xid.ts';

/** What `pg_current_snapshot()` prints, `xmin:xmax:xip,…`: which transactions a statement could see. */
export interface Snapshot {
  /** Everything below is finished. */
  readonly xmin: Xid;
  /** Nothing from here on is visible. */
  readonly xmax: Xid;
  /** Between the two: still running when the snapshot was taken. */
  readonly running: ReadonlySet<Xid>;
}

const FORM = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/;

/** @throws RangeError when `text` is not a pg_snapshot. */
export function parseSnapshot(text: string): Snapshot {
  const match = FORM.exec(text);
  if (!match) throw new RangeError(`expected a snapshot like 10:20:10,14, got ${JSON.stringify(text)}`);
  const [, xmin, xmax, running] = match;
  return {
    xmin: BigInt(xmin!),
    xmax: BigInt(xmax!),
    running: new Set(running ? running.split(',').map(BigInt) : []),
  };
}

/** Whether the effects of transaction `xid` (if it committed) are visible to `snapshot`. */
export const sees = (snapshot: Snapshot, xid: Xid): boolean =>
  xid < snapshot.xmin || (xid < snapshot.xmax && !snapshot.running.has(xid));
