// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { GrpcServer, type Json } from './grpc.ts';

/**
 * Two authorisation servers for Envoy's ext_authz, one over gRPC and one over HTTP, with one rule: who says that it is of
 * the namespace `default` may pass. Run as a program they listen at the ports 9001 and 9002, and print what they are
 * asked.
 */

const NAMESPACE = 'envoy.wasm.metadata_exchange.downstream';

/** google.rpc.Code */
const OK = 0;
const PERMISSION_DENIED = 7;

export class Authorization implements AsyncDisposable {
  /** What was asked, oldest first: `{ grpc }`, all of the peer's metadata, or `{ http }`, the header. */
  readonly asked: Json[] = [];

  private constructor(
    private readonly http: http.Server,
    private readonly report: (asked: Json) => void,
  ) {}

  private grpc: GrpcServer | undefined;

  static async start(ports = { grpc: 0, http: 0 }, report: (asked: Json) => void = () => undefined) {
    const server = http.createServer((request, response) => {
      const namespace = request.headers['x-caller-namespace'];
      authorization.take({ http: namespace ?? null });
      response.writeHead(namespace === 'default' ? 200 : 403).end();
    });
    const authorization = new Authorization(server, report);
    authorization.grpc = await GrpcServer.start(ports.grpc, [
      {
        proto: 'authorization.proto',
        name: 'envoy.service.auth.v3.Authorization',
        methods: { Check: (request) => authorization.check(request) },
      },
    ]);
    await new Promise<void>((resolve) => server.listen(ports.http, '127.0.0.1', resolve));
    return authorization;
  }

  /** The ports, by the names of Envoy's clusters. */
  get ports(): Record<string, number> {
    return {
      authorization_grpc: this.grpc!.port,
      authorization_http: (this.http.address() as AddressInfo).port,
    };
  }

  private take(asked: Json): void {
    this.asked.push(asked);
    this.report(asked);
  }

  private check(request: Json): Json {
    const peer = request.attributes?.metadataContext?.filterMetadata?.[NAMESPACE];
    this.take({ grpc: peer ?? null });
    if (peer?.NAMESPACE === 'default') return { status: { code: OK } };
    const body = `${peer?.WORKLOAD_NAME ?? 'nobody'} is not of this namespace\n`;
    return { status: { code: PERMISSION_DENIED }, deniedResponse: { status: { code: 403 }, body } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.grpc?.[Symbol.asyncDispose]();
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await Authorization.start({ grpc: 9001, http: 9002 }, (asked) => console.log(JSON.stringify(asked)));
}
