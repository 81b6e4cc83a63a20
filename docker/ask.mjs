/**
 * Asks the Freshet process of this container, and prints its answer: exit code 0 for a good one, else 1. Docker's
 * health checks run it, and people: node docker/ask.mjs /metrics
 *
 * A path is asked of the process's own admin listener (/health/live unless given), which is on the loopback address
 * at a port that only the kernel knows; a URL is asked as it is.
 */
import { readFileSync } from 'node:fs';

const answerLimitMs = 2_000;
const listening = '0A';
const loopback = '0100007F'; // 127.0.0.1; Docker's own resolver listens on another address of that network.

function adminListener() {
  const ports = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === listening && local.startsWith(`${loopback}:`))
    .map(([, local]) => Number.parseInt(local.split(':')[1], 16));
  if (ports.length === 0) throw new Error('no process listens for such questions here yet');
  return `http://127.0.0.1:${ports[0]}`;
}

try {
  const [, , asked = '/health/live'] = process.argv;
  const url = asked.startsWith('/') ? `${adminListener()}${asked}` : asked;
  const response = await fetch(url, { signal: AbortSignal.timeout(answerLimitMs) });
  process.stdout.write(await response.text());
  process.exitCode = response.ok ? 0 : 1;
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
