import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Everything before the empty line, as it came. */
  readonly head: string;
  readonly body: Buffer;
}

/**
 * One keep-alive connection that sends ready-made request bytes and finds the end of each answer by its
 * Content-Length. A client library would cost the load generator more than the server spends on a hit, and then it
 * would be the client that is measured.
 */
export class RawClient {
  readonly #socket: Socket;
  #received: Buffer = EMPTY;
  #onAnswer: (answer: RawAnswer) => void = () => {};

  private constructor(socket: Socket, onError: (error: Error) => void) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', chunk => this.#receive(chunk as Buffer));
    socket.on('error', onError);
    socket.on('end', () => onError(new Error('the server closed a keep-alive connection')));
  }

  static open(port: number, onError: (error: Error) => void): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.off('error', reject);
        resolve(new RawClient(socket, onError));
      });
      socket.once('error', reject);
    });
  }

  /** One request at a time: `onAnswer` is called before the next one may be sent. */
  send(request: Buffer, onAnswer: (answer: RawAnswer) => void): void {
    this.#onAnswer = onAnswer;
    this.#socket.write(request);
  }

  close(): void {
    this.#socket.removeAllListeners('end').destroy();
  }

  #receive(chunk: Buffer): void {
    const received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const headEnd = received.indexOf(END_OF_HEAD);
    if (headEnd < 0) {
      this.#received = received;
      return;
    }
    const head = received.toString('latin1', 0, headEnd);
    const bodyStart = headEnd + END_OF_HEAD.length;
    const bodyEnd = bodyStart + Number(CONTENT_LENGTH.exec(head)?.[1] ?? 0);
    if (received.length < bodyEnd) {
      this.#received = received;
      return;
    }
    this.#received = EMPTY;
    const status = Number(head.slice(STATUS_AT, STATUS_AT + 3));
    this.#onAnswer({ status, head, body: received.subarray(bodyStart, bodyEnd) });
  }
}

const EMPTY = Buffer.alloc(0);
const END_OF_HEAD = Buffer.from('\r\n\r\n');
const CONTENT_LENGTH = /\r\ncontent-length: (\d+)/i;
const STATUS_AT = 'HTTP/1.1 '.length;

export const getRequest = (path: string, headers: Readonly<Record<string, string>> = {}): Buffer =>
  Buffer.from(
    [
      `GET ${path} HTTP/1.1`,
      'Host: 127.0.0.1',
      'Accept: application/json',
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      '\r\n',
    ].join('\r\n'),
  );

/** A header of an answer; null when it is not there. */
export const headerOf = (answer: RawAnswer, name: string): string | null =>
  new RegExp(`\\r\\n${name}: ([^\\r]*)`, 'i').exec(answer.head)?.[1] ?? null;
