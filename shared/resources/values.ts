/**
 * Values between Postgres and JSON. Postgres' side is always text, exactly as its output functions print it under
 * `TimeZone=UTC, DateStyle=ISO, IntervalStyle=iso_8601, bytea_output=hex, extra_float_digits=1`, and never cast:
 * `inet::text` and `bpchar::text` differ from what the same column prints by itself.
 *
 * A column has one JSON type, whatever its value, so that a client can be typed once:
 *
 * | Postgres                     | JSON                                                                          |
 * |------------------------------|-------------------------------------------------------------------------------|
 * | int2, int4, oid              | number                                                                        |
 * | float4, float8               | number; `"NaN"`, `"Infinity"`, `"-Infinity"`                                  |
 * | int8, numeric                | string; with `numbers: { column: 'number' }` a number, refused where inexact  |
 * | bool                         | boolean                                                                       |
 * | timestamptz                  | `"2026-11-21T10:00:00.123456Z"`, always UTC and six digits                    |
 * | timestamp                    | the same without `Z`                                                          |
 * | … infinity, years before 1   | as printed: `"infinity"`, `"0044-03-15 00:00:00+00 BC"`                       |
 * | date, time, timetz, interval | as printed: ISO 8601                                                          |
 * | bytea                        | base64                                                                        |
 * | json, jsonb                  | embedded as printed: numbers keep every digit                                 |
 * | arrays                       | arrays of the above, nested by dimension; lower bounds are not shown          |
 * | domains                      | as the type under them                                                        |
 * | everything else              | string, as printed: enum, uuid, inet, ranges, composites, money, box[]        |
 *
 * A NULL is `null`. A json `null` is `null` too, and a `null` that comes in is always NULL.
 */
export { decodeValue } from './decode-value.ts';
export { encodeRow, type RowEncoder, rowEncoder } from './encode-row.ts';
