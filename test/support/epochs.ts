import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { keysOf } from '../../shared/resources/keys.ts';
import type { World } from './world.ts';

export interface EpochWatch {
  /** Every epoch the cache was given since, in order. */
  readonly given: readonly string[];
  close(): void;
}

/**
 * Listens to the cache Redis itself: two epochs within a millisecond are two all the same. Over a socket of its own,
 * since a busy server's first commands may come in one piece with the answer to MONITOR, which a client library
 * takes for answers to commands it never sent.
 */
export async function watchEpochs(world: World): Promise<EpochWatch> {
  const { control } = keysOf(world.namespace);
  const url = new URL(world.cacheUrl);
  const socket = connect(Number(url.port), url.hostname);
  const lines = createInterface({ input: socket });
  const given: string[] = [];
  await new Promise<void>((resolve, reject) => {
    let answers = 0;
    socket.on('error', reject);
    lines.on('line', line => {
      if (line.startsWith('-')) reject(new Error(line));
      // `+OK` to AUTH and to MONITOR; every line behind them is a command.
      else if (line === '+OK' && ++answers === 2) resolve();
      else {
        // +<time> [<db> <client>] "HSET" "<control>" "run" "…" "epoch" "…"
        const [command, key, ...fields] = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word]) => word!);
        const at = fields.indexOf('epoch');
        if (command?.toUpperCase() === 'HSET' && key === control && at >= 0) given.push(fields[at + 1]!);
      }
    });
    socket.write(`AUTH ${url.password}\r\nMONITOR\r\n`);
  });
  return {
    given,
    close() {
      lines.close();
      socket.destroy();
    },
  };
}
