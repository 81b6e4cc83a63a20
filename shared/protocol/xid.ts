/**
 * Transaction ids. Inside Freshet an xid is always the 64-bit id (epoch and counter) as a bigint, and a decimal
 * string in Redis. The replication stream carries only the low 32 bits.
 */
export type Xid = bigint;

/** Lua compares xids as doubles: exact below 2^53, which is 4,000 years of 70,000 transactions a second. */
export const XID_LIMIT = 2n ** 53n;

/** Below it are the ids of bootstrap and of frozen rows, which name no transaction. */
export const FIRST_NORMAL_XID = 3n;

/**
 * The 64-bit id whose low half is `low`, nearest to `reference` by signed 32-bit distance.
 * An event's xid can lie above every xid seen so far, so "the nearest below" would be a whole epoch wrong.
 */
export function widen(low: number, reference: Xid): Xid {
  const distance = (low - Number(reference & 0xffff_ffffn)) | 0;
  return reference + BigInt(distance);
}
