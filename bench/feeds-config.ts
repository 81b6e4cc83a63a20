/** What the workers follow while the feeds are measured: the tables that are written to, and no work of their own. */
import { defineConfig, table } from '../shared/resources/define.ts';
import type { Target } from './writers.ts';

export const orders: Target = { table: 'bench_orders', column: 'total' };
/** Written last: once its changes are settled, in every partition, everything before them is. */
export const ends: Target = { table: 'bench_ends', column: 'number' };

// A warm-up would fill a thousand rows a second beside what is measured.
const warmUp = { top: 0 };

export default defineConfig({
  resources: {
    [orders.table]: table(orders.table, { warmUp }),
    [ends.table]: table(ends.table, { warmUp }),
  },
});
