// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, relative } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';
import type { Watch } from './watch.ts';

/**
 * The page and what it asks for, at 127.0.0.1 only. No other site can read it: a request must name this machine as its
 * host, so that a stranger's name that points here gets nothing, and nobody may frame it.
 */

/** What `make page` builds. */
const BUILT = join(ROOT, 'build/page');

const HOSTS = new Set(['127.0.0.1', 'localhost', '[::1]']);

const HEADERS = {
  // Of this server only, and nothing inline: what peers call themselves is never code.
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** How many pages may be open at once. */
const MOST_LISTENERS = 50;

/** Why the page cannot be shown; undefined if it can. */
export function missingPage(): string | undefined {
  return existsSync(join(BUILT, 'index.html')) ? undefined : 'the page is not built: run `make page`';
}

export class PageServer implements AsyncDisposable {
  private readonly files = new Map<string, { type: string; content: Buffer }>();
  private readonly listeners = new Set<ServerResponse>();
  private readonly server = http.createServer((request, response) => {
    this.serve(request, response).catch((error: Error) => {
      if (!response.headersSent) response.writeHead(500);
      response.end(error.message);
    });
  });

  private constructor(private readonly watch: Watch) {
    const all = readdirSync(BUILT, { recursive: true, withFileTypes: true });
    for (const file of all.filter((each) => each.isFile())) {
      const path = join(file.parentPath, file.name);
      const type = TYPES[extname(path)] ?? 'application/octet-stream';
      this.files.set(`/${relative(BUILT, path)}`, { type, content: readFileSync(path) });
    }
    const index = this.files.get('/index.html');
    if (index) this.files.set('/', index);
    watch.onSnapshot = (snapshot) => {
      for (const each of this.listeners) this.push(each, JSON.stringify(snapshot));
    };
  }

  /** Serves at a port, or with 0 at any free one. Rejects if it is taken. */
  static async start(watch: Watch, port: number): Promise<PageServer> {
    const page = new PageServer(watch);
    await new Promise<void>((resolve, reject) => {
      page.server.once('error', reject);
      page.server.listen(port, '127.0.0.1', resolve);
    });
    return page;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (!isOurs(request.headers)) {
      response.writeHead(403).end('Only by 127.0.0.1 or localhost.\n');
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
    const file = this.files.get(pathname);
    const id = searchParams.get('id') ?? '';
    if (file) response.writeHead(200, { 'content-type': file.type }).end(file.content);
    else if (pathname === '/events') this.listen(response);
    else if (pathname === '/node') answer(response, await this.watch.detailsOf(id));
    else if (pathname === '/history') answer(response, this.watch.historyOf(id));
    else response.writeHead(404).end();
  }

  /** Server-Sent Events: a snapshot now, and each one that comes. */
  private listen(response: ServerResponse): void {
    if (this.listeners.size >= MOST_LISTENERS) {
      response.writeHead(503).end('too many pages are open\n');
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    this.listeners.add(response);
    response.on('close', () => this.listeners.delete(response));
    if (this.watch.snapshot) this.push(response, JSON.stringify(this.watch.snapshot));
  }

  private push(response: ServerResponse, snapshot: string): void {
    // Who does not read gets the next one: nothing piles up.
    if (!response.writableNeedDrain) response.write(`data: ${snapshot}\n\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function answer(response: ServerResponse, content: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(content));
}

/** Whether a request is of this page, or of whoever opens it: not of another page in the same browser. */
function isOurs({ host = '', origin, ...rest }: IncomingHttpHeaders): boolean {
  if (!HOSTS.has(host.replace(/:\d+$/, ''))) return false;
  if (origin !== undefined && origin !== `http://${host}`) return false;
  const { 'sec-fetch-site': from = 'none', 'sec-fetch-mode': mode } = rest;
  return from === 'same-origin' || from === 'none' || mode === 'navigate';
}
