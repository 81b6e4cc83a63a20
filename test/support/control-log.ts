import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { keysOf } from '../../shared/resources/keys.ts';
import type { World } from './world.ts';

/** What the cache Redis was told, in its own order. */
export type ControlEvent =
  | { readonly kind: 'epoch'; readonly epoch: string; readonly closed: boolean }
  | { readonly kind: 'echo' };

export interface ControlLog {
  readonly events: readonly ControlEvent[];
  close(): void;
}

/** Epochs and published echoes, as the server carries them out: inside its scripts as well. */
export async function watchControl(world: World): Promise<ControlLog> {
  const { control, echo } = keysOf(world.namespace);
  const url = new URL(world.cacheUrl);
  const socket = connect(Number(url.port), url.hostname);
  const lines = createInterface({ input: socket });
  const events: ControlEvent[] = [];
  const read = (line: string): void => {
    const [command = '', key, ...fields] = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(
      ([, word]) => word!,
    );
    const name = command.toUpperCase();
    if (name === 'PUBLISH' && key === echo) events.push({ kind: 'echo' });
    if (name !== 'HSET' || key !== control) return;
    const at = (field: string): string | undefined => fields[fields.indexOf(field) + 1];
    if (fields.includes('epoch')) events.push({ kind: 'epoch', epoch: at('epoch')!, closed: false });
    else if (fields.includes('closed')) events.push({ kind: 'epoch', epoch: at('closed')!, closed: true });
  };
  await new Promise<void>((resolve, reject) => {
    let answers = 0;
    socket.on('error', reject);
    lines.on('line', line => {
      if (line.startsWith('-')) reject(new Error(line));
      // `+OK` to AUTH and to MONITOR; every line behind them is a command.
      else if (line === '+OK' && ++answers === 2) resolve();
      else read(line);
    });
    socket.write(`AUTH ${url.password}\r\nMONITOR\r\n`);
  });
  return {
    events,
    close() {
      lines.close();
      socket.destroy();
    },
  };
}
