// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

/**
 * An application that fails as the path of a request says: `/reset/` resets the connection, `/hold/`, `/wait/` and
 * `/late/` never answer, `/retry/` answers 503 the first time and nothing the second. Whatever else is answered with 200. Run as a
 * program it listens at the port 9080.
 */
export class FailingApp implements AsyncDisposable {
  private readonly tried = new Set<string>();

  private constructor(private readonly server: http.Server) {}

  static async start(port = 0): Promise<FailingApp> {
    const server = http.createServer();
    const app = new FailingApp(server);
    server.on('request', (request, response) => app.answer(request, response));
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return app;
  }

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { url: path = '' } = request;
    const what = path.split('/')[1];
    request.on('error', () => undefined).resume();
    if (what === 'reset') return void request.socket.resetAndDestroy();
    if (what === 'hold' || what === 'wait' || what === 'late') return;
    if (what !== 'retry') return void response.end('ok\n');
    if (this.tried.delete(path)) return;
    this.tried.add(path);
    response.writeHead(503).end();
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await FailingApp.start(9080);
