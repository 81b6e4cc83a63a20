import { parseExposition } from './exposition.ts';
import type { TestProcess } from './world.ts';

/** What a counter of a process stands at, over all its series that carry `labels`; 0 while nothing was counted. */
export async function counted(
  { metrics }: Pick<TestProcess, 'metrics'>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const response = await fetch(`${metrics}/metrics`);
  const family = parseExposition(await response.text()).get(name);
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return [...(family?.samples ?? [])]
    .filter(([series]) => wanted.every(label => series.includes(label)))
    .reduce((sum, [, value]) => sum + value, 0);
}
