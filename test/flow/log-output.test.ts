import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from '@jest/globals';

const TELEMETRY = new URL('../../observability/telemetry.ts', import.meta.url).href;

/** A process whose log goes to a real stdout. `body` sees `telemetry`; its stderr is how it answers. */
function run(body: string): ChildProcess {
  const script = `
    import { startTelemetry } from ${JSON.stringify(TELEMETRY)};
    const telemetry = startTelemetry({ role: 'worker', instance: 'w-1', env: {} });
    const say = text => telemetry.observer.emit({ type: 'note', level: 'info', text });
    ${body}`;
  return spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

describe('the log on stdout', () => {
  let child: ChildProcess;
  afterEach(() => void child.kill('SIGKILL'));

  test('is whole although the process exits right after its last line', async () => {
    child = run(`for (let i = 1; i <= 500; i++) say('line ' + i); process.exit(0);`);
    const lines = (await text(child.stdout!)).trimEnd().split('\n');
    expect(lines).toHaveLength(500);
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ process: 'w-1', msg: 'line 500' });
  });

  test('is whole after a close, which leaves an empty loop behind', async () => {
    child = run(`say('one'); await telemetry.close(); say('two');`);
    const [written] = await Promise.all([text(child.stdout!), once(child, 'exit')]);
    expect(
      written
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line).msg),
    ).toEqual(['one', 'two']);
    expect(child.exitCode).toBe(0);
  });

  test('a reader that stands still holds nobody up; what does not fit is dropped and counted', async () => {
    child = run(`
      const long = 'x'.repeat(1000);
      const began = performance.now();
      for (let i = 0; i < 20_000; i++) say(long);
      const tookMs = performance.now() - began;
      const lost = /telemetry_dropped_total\\{signal="logs".*\\} (\\d+)/.exec(await telemetry.metricsText());
      process.stderr.write(JSON.stringify({ tookMs, lost: Number(lost?.[1]) }), () => process.kill(process.pid, 'SIGKILL'));`);
    const { tookMs, lost } = JSON.parse(await text(child.stderr!)) as { tookMs: number; lost: number };
    expect(tookMs).toBeLessThan(5_000);
    expect(lost).toBeGreaterThan(10_000);
  });

  test('a reader that is gone harms nobody', async () => {
    child = run(`
      import { once } from 'node:events';
      say('begun');
      process.stdin.resume();
      await once(process.stdin, 'end');
      for (let i = 0; i < 1_000; i++) { say('still here'); await new Promise(setImmediate); }
      await telemetry.close();
      process.stderr.write('well');`);
    await once(child.stdout!, 'data');
    child.stdout!.destroy();
    child.stdin!.end();
    child.stdin!.on('error', () => {});
    const [said] = await Promise.all([text(child.stderr!), once(child, 'exit')]);
    expect([said, child.exitCode]).toEqual(['well', 0]);
  });
});
