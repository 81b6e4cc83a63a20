/** Types of pg_catalog that are treated by name; their oids are the same in every Postgres. */
export const TYPE = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
} as const;

/** Least and greatest value of the signed integer types. */
export const INTEGER_RANGES: ReadonlyMap<number, readonly [bigint, bigint]> = new Map([
  [TYPE.int2, [-(2n ** 15n), 2n ** 15n - 1n]],
  [TYPE.int4, [-(2n ** 31n), 2n ** 31n - 1n]],
  [TYPE.int8, [-(2n ** 63n), 2n ** 63n - 1n]],
]);
