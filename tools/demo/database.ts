// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

/**
 * A database as small as can be, behind a sidecar: a client sends a key in a line, and gets the entry in a line. It
 * counts itself, and remembers whatever came that is no key: a preface would be.
 */
export class Database implements AsyncDisposable {
  readonly failures = 0;
  /** How many keys were asked for. */
  requests = 0;
  readonly peerHeaders = new Set<string>();

  private constructor(
    readonly name: string,
    private readonly server: net.Server,
  ) {}

  /** Starts it at any free port. */
  static async start(name: string, entries: Record<string, string>): Promise<Database> {
    const server = net.createServer();
    const database = new Database(name, server);
    server.on('connection', (socket) => {
      let line = '';
      socket.on('error', () => undefined);
      socket.setEncoding('latin1').on('data', (text: string) => {
        line += text;
        if (line.endsWith('\n')) socket.end(database.answer(line.trim(), entries));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return database;
  }

  /** Where it listens. */
  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  private answer(key: string, entries: Record<string, string>): string {
    this.requests++;
    if (!(key in entries)) this.peerHeaders.add(`${this.name} saw ${JSON.stringify(key.slice(0, 80))} before a key`);
    return `${entries[key] ?? 'nothing'}\n`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Asks a database, through the sidecar that listens at this port, for an entry. */
export async function lookUp(port: number, key: string): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port });
  let entry = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    entry += text;
  });
  socket.write(`${key}\n`);
  await once(socket, 'close');
  return entry.trim();
}
