import { connect, createServer, type Socket } from 'node:net';

/** An address that stands for one server first and for another one later, as behind a fail-over. */
export interface Switch {
  readonly port: number;
  /** Cuts every connection; the next ones go to `port`. */
  to(port: number): void;
  close(): Promise<void>;
}

export async function openSwitch(first: number): Promise<Switch> {
  let target = first;
  const sockets = new Set<Socket>();
  const server = createServer(near => {
    const far = connect(target, '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as { port: number }).port,
    to(port) {
      target = port;
      cut();
    },
    async close() {
      cut();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
