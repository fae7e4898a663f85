// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Headers, send } from '../../testkit/http.ts';
import type { Answering } from './bookinfo.ts';
import { lookUp } from './database.ts';

/** Who asks for a page: Bookinfo's applications pass it on. Requests that have it are in the access logs. */
export const USER = 'end-user';

/**
 * A small application behind a sidecar. It counts its requests itself, and remembers every peer header that it saw, in
 * requests and in what others answer it: there must be none.
 */
export class Application implements AsyncDisposable {
  /** How many requests there were. */
  requests = 0;
  /** How many of them it answered with 500. */
  failures = 0;
  /** Peer headers that should not have been there: where, and which. */
  readonly peerHeaders = new Set<string>();
  /** The port of its sidecar's outbound listener. */
  outbound: number | undefined;
  /** The port of the listener that leads to the database, where it has one. */
  database: number | undefined;

  private constructor(
    readonly name: string,
    private readonly server: http.Server,
  ) {}

  /** Starts it at any free port. */
  static async start(name: string, answer: Answering): Promise<Application> {
    const server = http.createServer();
    // Sidecars keep connections: to close an idle one is to lose the request that is just on its way.
    server.keepAliveTimeout = 0;
    const application = new Application(name, server);
    server.on('request', (request, response) => {
      application.serve(request, answer).then(
        ({ status = 200, body = '' }) => response.writeHead(status).end(`${body}\n`),
        (error: Error) => response.writeHead(502).end(`${error.message}\n`),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return application;
  }

  /** Where it listens. */
  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  private async serve(request: http.IncomingMessage, answer: Answering) {
    this.look('a request', new Headers(request.rawHeaders));
    const user = request.headers[USER];
    const headers = typeof user === 'string' ? [USER, user] : [];
    const ask = async (service: string, path: string) => {
      if (this.outbound === undefined) throw new Error(`${this.name} has no sidecar`);
      const reply = await send(this.outbound, { host: service, path, headers });
      this.look(`an answer of ${service}`, reply.headers);
      return { status: reply.status, body: reply.body.trim() };
    };
    const query = async (key: string) => {
      if (this.database === undefined) throw new Error(`${this.name} has no way to the database`);
      const entry = await lookUp(this.database, key);
      if (!/^[\w ]+$/.test(entry)) this.peerHeaders.add(`${this.name} saw ${JSON.stringify(entry)} as an entry`);
      return entry;
    };
    const reply = await answer(ask, this.requests++, query);
    if (reply.status === 500) this.failures++;
    return reply;
  }

  private look(where: string, headers: Headers): void {
    for (const header of Object.keys(headers.peer())) this.peerHeaders.add(`${this.name} saw ${header} in ${where}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
