// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Plain TCP, byte by byte: clients and servers that tests play. */

/** One end of a connection, and what came to it. */
export class Wire {
  private readonly chunks: Buffer[] = [];
  /** The other side has no more to say. */
  isEnded = false;
  /** The connection is gone, in both directions. */
  isClosed = false;
  /** Why it broke, if it did. */
  error: string | undefined;

  constructor(readonly socket: Socket) {
    socket.setNoDelay();
    socket.on('data', (chunk) => this.chunks.push(chunk));
    socket.on('end', () => {
      this.isEnded = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  /**
   * Connects to a port of this machine, from one of its addresses. It stays open for what is to be said when the server has
   * no more to say.
   */
  static async open(port: number, from?: string): Promise<Wire> {
    const socket = net.connect({ host: '127.0.0.1', port, localAddress: from, allowHalfOpen: true });
    await once(socket, 'connect');
    return new Wire(socket);
  }

  /** All that came. */
  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  /** The same, as text. */
  get text(): string {
    return this.received.toString('latin1');
  }

  /** Sends bytes, and waits until the system took them. */
  async send(bytes: string | Uint8Array): Promise<this> {
    if (bytes.length > 0) await new Promise<void>((resolve) => this.socket.write(bytes, () => resolve()));
    return this;
  }

  /** Sends bytes in pieces that end at these places: as pieces of their own, if the machine is not too busy. */
  async sendInPieces(bytes: Uint8Array, ends: number[], pause = 2): Promise<this> {
    let from = 0;
    for (const end of [...ends, bytes.length]) {
      await this.send(bytes.subarray(from, end));
      from = end;
      await sleep(pause);
    }
    return this;
  }

  /** Says that it has no more to send. */
  end(): this {
    this.socket.end();
    return this;
  }

  /** Waits until all of this came, and says what came. */
  async until(expected: string | Uint8Array): Promise<Buffer> {
    const bytes = Buffer.from(expected as string, 'latin1');
    await waitFor(
      () => this.received.length >= bytes.length || this.isClosed,
      () => `${bytes.length} bytes; there are ${this.received.length}`,
    );
    return this.received;
  }

  /** Waits until what came is as it should be, and says what came. */
  async untilIt(holds: (text: string) => boolean): Promise<Buffer> {
    await waitFor(
      () => holds(this.text) || this.isClosed,
      () => `what should come; there is ${this.text.slice(-200)}`,
    );
    if (!holds(this.text)) throw new Error(`the connection is gone (${this.error}) after ${this.text.slice(-200)}`);
    return this.received;
  }

  /** Waits until the other side has no more to say, and says what came. */
  async untilEnd(): Promise<Buffer> {
    await waitFor(
      () => this.isEnded || this.isClosed,
      () => `the other side to end; it said ${this.received.length} bytes`,
    );
    return this.received;
  }

  /** Breaks the connection off. */
  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Waits until something holds. */
export async function waitFor(holds: () => boolean, what: () => string): Promise<void> {
  for (const end = Date.now() + 30_000; !holds(); await sleep(5)) {
    if (Date.now() > end) throw new Error(`waited too long for ${what()}`);
  }
}

/** A server of TCP that keeps every connection it took. */
export class TcpServer implements AsyncDisposable {
  readonly wires: Wire[] = [];

  private constructor(private readonly server: net.Server) {}

  /** `serve` is told of each connection at its beginning. */
  static async start(serve: (wire: Wire) => void = () => undefined): Promise<TcpServer> {
    const server = net.createServer({ allowHalfOpen: true });
    const tcp = new TcpServer(server);
    server.on('connection', (socket) => {
      const wire = new Wire(socket);
      tcp.wires.push(wire);
      serve(wire);
    });
    await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, resolve));
    return tcp;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The n-th connection, when it is there; the first one unless told. */
  async wire(n = 0): Promise<Wire> {
    await waitFor(
      () => this.wires.length > n,
      () => `connection ${n} to the server`,
    );
    return this.wires[n];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.wires) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Answers each piece with the same piece behind a word, and ends when the client does. */
export function echo(wire: Wire): void {
  wire.socket.on('data', (chunk) => wire.socket.write(Buffer.concat([Buffer.from('heard '), chunk])));
  wire.socket.on('end', () => wire.socket.end());
}

/** Speaks first, as MySQL's and SMTP's servers do, and then answers. */
export function greet(wire: Wire): void {
  wire.socket.write('welcome\n');
  echo(wire);
}
