// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';

/** The headers that proxies exchange unless configured otherwise. */
export const METADATA = 'x-istio-peer-metadata';
export const ID = 'x-istio-peer-id';

/** Headers as they came, copies and order kept: names in lower case. */
export class Headers {
  readonly pairs: [string, string][] = [];

  constructor(raw: string[]) {
    for (let i = 0; i < raw.length; i += 2) this.pairs.push([raw[i].toLowerCase(), raw[i + 1]]);
  }

  /** All copies of a header. */
  all(name: string): string[] {
    return this.pairs.filter(([each]) => each === name).map(([, value]) => value);
  }

  /** The peer headers that are there, under their usual names. */
  peer(): Record<string, string[]> {
    const found: Record<string, string[]> = {};
    for (const name of [METADATA, ID]) if (this.all(name).length > 0) found[name] = this.all(name);
    return found;
  }
}

export interface Reply {
  status?: number;
  /** Names and values in turn. */
  headers?: string[];
  body?: string;
  trailers?: [string, string][];
}

export interface Seen {
  method: string;
  path: string;
  headers: Headers;
  body: string;
  trailers: Record<string, string | undefined>;
}

export type Answering = (request: Seen) => Reply | undefined | Promise<Reply>;

/** A server that a proxy stands before: it remembers what it saw, and answers what it is told to. */
export class App implements AsyncDisposable {
  readonly seen: Seen[] = [];

  private constructor(private readonly server: http.Server) {}

  /** `answer` says what to answer; `undefined`: nothing, ever. `address` is one of this machine's. */
  static async start(answer: Answering = () => ({}), address = '127.0.0.1'): Promise<App> {
    const server = http.createServer();
    const app = new App(server);
    server.on('request', async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const { method = '', url: path = '', trailers } = request;
      const seen = { method, path, headers: new Headers(request.rawHeaders), body, trailers };
      app.seen.push(seen);
      const reply = await answer(seen);
      if (!reply) return;
      if (reply.trailers) response.setHeader('trailer', reply.trailers.map(([name]) => name).join(', '));
      response.writeHead(reply.status ?? 200, reply.headers ?? []);
      response.write(reply.body ?? 'ok');
      if (reply.trailers) response.addTrailers(reply.trailers);
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return app;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The request seen last. */
  get last(): Seen {
    const seen = this.seen.at(-1);
    if (!seen) throw new Error('the application saw no request');
    return seen;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export interface Answer {
  status: number;
  headers: Headers;
  body: string;
  trailers: Record<string, string | undefined>;
}

export interface Request {
  method?: string;
  path?: string;
  host?: string;
  /** The address of this machine that it comes from: any of 127.0.0.0/8. */
  from?: string;
  /** Names and values in turn: copies are possible. */
  headers?: string[];
  body?: string | Buffer;
  trailers?: Record<string, string>;
}

/**
 * Sends one HTTP/1.1 request on a connection of its own, to a port of this machine or to a socket of this path; over
 * TLS if there are options for that.
 */
export function send(to: number | string, options: Request = {}, tls?: https.RequestOptions): Promise<Answer> {
  const { method = 'GET', path = '/', host = 'test', from, body, trailers } = options;
  const server = typeof to === 'number' ? { host: '127.0.0.1', port: to, localAddress: from } : { socketPath: to };
  return new Promise((resolve, reject) => {
    const raw = ['host', host, ...(options.headers ?? [])];
    if (trailers) raw.push('transfer-encoding', 'chunked', 'te', 'trailers');
    else if (body !== undefined) raw.push('content-length', String(Buffer.byteLength(body)));
    const target = { ...server, method, path, agent: false as const, headers: raw as never };
    const request = tls ? https.request({ ...target, ...tls }) : http.request(target);
    request.on('error', reject);
    request.on('response', async (response) => {
      try {
        let text = '';
        for await (const chunk of response) text += chunk;
        const { statusCode: status = 0, trailers } = response;
        resolve({ status, headers: new Headers(response.rawHeaders), body: text, trailers });
      } catch (error) {
        reject(error);
      }
    });
    if (trailers) request.addTrailers(trailers);
    request.end(body);
  });
}
