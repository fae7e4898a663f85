// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Headers, ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** Peers for tests of what goes wrong: so many, and all different, that nobody can be taken for somebody else. */

/** What client or server number `n` says of itself. */
export const saysOf = (side: 'client' | 'server', n: number) => ({ NAME: `${side}-${n}`, LABELS: { number: n } });
export const idOf = (side: 'client' | 'server', n: number) => `${side}-${n}-id`;

/** The headers of client or server number `n`: names and values in turn. */
export function peerHeaders(side: 'client' | 'server', n: number): string[] {
  return [METADATA, struct.header(saysOf(side, n)), ID, idOf(side, n)];
}

/** `/what/17`: what the server is to do with request number 17. */
export const pathOf = (what: string, n: number) => `/${what}/${n}`;

/** The number of a request by its path. */
export const numberOf = (path: string) => Number(path.split('/').at(-1));

/**
 * A server that fails as the path of a request says: `reset` before the answer, `hold` it back, give `half` of it
 * and no more, `flap`: a reset at the first try only. Whatever else is answered as usual.
 */
export class FaultyServer implements AsyncDisposable {
  private readonly arrived = new Map<string, number>();
  private readonly halves = new Map<string, Socket>();

  private constructor(private readonly server: http.Server) {}

  static async start(address = '127.0.0.1'): Promise<FaultyServer> {
    const server = http.createServer();
    const faulty = new FaultyServer(server);
    server.on('request', (request, response) => {
      const path = request.url ?? '';
      const what = path.split('/')[1];
      const tries = (faulty.arrived.get(path) ?? 0) + 1;
      faulty.arrived.set(path, tries);
      request.on('error', () => undefined).resume();
      if (what === 'hold') return;
      if (what === 'reset' || (what === 'flap' && tries === 1)) return void request.socket.resetAndDestroy();
      response.writeHead(200, [...peerHeaders('server', numberOf(path)), 'content-length', '1000']);
      response.write('x'.repeat(500));
      faulty.halves.set(path, request.socket);
      if (what !== 'half') response.end('y'.repeat(500));
    });
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return faulty;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Resets the connection on which half of an answer was given. */
  breakOff(path: string): void {
    this.halves.get(path)?.resetAndDestroy();
  }

  /** Whether a request with this path came. */
  has(path: string): boolean {
    return this.arrived.has(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** How a request ended for the client: with what status and headers, if any, and whether all of the answer came. */
export interface Outcome {
  n: number;
  status?: number;
  headers?: Headers;
  complete: boolean;
}

export interface Attempt {
  port: number;
  path: string;
  n: number;
  agent?: http.Agent;
  /** The client resets the connection: when this promise is fulfilled, or when it has some of the answer. */
  reset?: Promise<void> | 'mid-answer';
  /** Called when some of the answer is there. */
  onAnswer?: () => void;
}

/** Sends the request of client number `n`; a client that resets sends only half of it. Never fails. */
export function attempt({ port, path, n, agent, reset, onAnswer }: Attempt): Promise<Outcome> {
  return new Promise((resolve) => {
    const outcome: Outcome = { n, complete: false };
    const headers = ['host', 'test', ...peerHeaders('client', n), ...(reset ? ['content-length', '1000'] : [])];
    const options = { host: '127.0.0.1', port, path, method: reset ? 'POST' : 'GET', agent: agent ?? false };
    const request = http.request({ ...options, headers: headers as never });
    request.on('error', () => undefined);
    request.on('close', () => resolve(outcome));
    request.on('response', (response) => {
      outcome.status = response.statusCode;
      outcome.headers = new Headers(response.rawHeaders);
      response.on('error', () => undefined);
      response.on('end', () => {
        outcome.complete = response.complete;
      });
      response.on('data', () => {
        onAnswer?.();
        if (reset === 'mid-answer') request.socket?.resetAndDestroy();
      });
    });
    if (!reset) request.end();
    else request.write('z'.repeat(500));
    if (reset instanceof Promise) void reset.then(() => request.socket?.resetAndDestroy());
  });
}
