// SPDX-License-Identifier: Apache-2.0
import { type handleBidiStreamingCall, Server, ServerCredentials } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/**
 * A control plane that hands out one virtual host on demand, and nothing else: with the filter on_demand a request waits
 * for its virtual host and, before Envoy 1.40, runs the chain again when it is there.
 */

const PROTO = `
syntax = "proto3";
message Any { string type_url = 1; bytes value = 2; }
message Resource { string version = 1; Any resource = 2; string name = 3; repeated string aliases = 4; }
message DeltaDiscoveryRequest { string type_url = 2; repeated string resource_names_subscribe = 3; string response_nonce = 6; }
message DeltaDiscoveryResponse { string system_version_info = 1; repeated Resource resources = 2; string type_url = 4; string nonce = 5; }
message VirtualHost { string name = 1; repeated string domains = 2; repeated Route routes = 3; }
message Route { Match match = 1; Action route = 2; }
message Match { string prefix = 1; }
message Action { string cluster = 1; }
`;
const { root } = protobuf.parse(PROTO, { keepCase: true });
const VIRTUAL_HOST = 'type.googleapis.com/envoy.config.route.v3.VirtualHost';
const SERVICE = 'envoy.service.route.v3.VirtualHostDiscoveryService';

const codec = (name: string) => {
  const type = root.lookupType(name);
  return {
    // biome-ignore lint/suspicious/noExplicitAny: any message
    serialize: (value: any) => Buffer.from(type.encode(type.fromObject(value)).finish()),
    deserialize: (bytes: Buffer) => type.toObject(type.decode(bytes), { arrays: true }),
  };
};

export class VirtualHosts implements AsyncDisposable {
  private constructor(
    private readonly server: Server,
    readonly port: number,
    /** The virtual hosts that were asked for. */
    readonly asked: string[],
  ) {}

  /** Every domain that is asked for goes to this cluster. */
  static async start(cluster: string): Promise<VirtualHosts> {
    const request = codec('DeltaDiscoveryRequest');
    const response = codec('DeltaDiscoveryResponse');
    const server = new Server();
    const asked: string[] = [];
    let nonce = 0;
    // biome-ignore lint/suspicious/noExplicitAny: messages are described above
    const serve: handleBidiStreamingCall<any, any> = (stream) => {
      stream.on('data', ({ resource_names_subscribe: names, response_nonce: acknowledged }) => {
        // Envoy begins with no name, and does not serve before it has a virtual host.
        const wanted = names.length === 0 && !acknowledged ? ['routes/nobody'] : (names as string[]);
        if (wanted.length === 0) return;
        asked.push(...names);
        const resources = wanted.map((name) => {
          const domain = name.slice(name.indexOf('/') + 1);
          const host = { name, domains: [domain], routes: [{ match: { prefix: '/' }, route: { cluster } }] };
          const value = codec('VirtualHost').serialize(host);
          return { version: '1', name, aliases: [name], resource: { type_url: VIRTUAL_HOST, value } };
        });
        stream.write({ system_version_info: '1', resources, type_url: VIRTUAL_HOST, nonce: String(++nonce) });
      });
      stream.on('end', () => stream.end());
      stream.on('error', () => {});
    };
    server.addService(
      {
        DeltaVirtualHosts: {
          path: `/${SERVICE}/DeltaVirtualHosts`,
          requestStream: true,
          responseStream: true,
          requestSerialize: request.serialize,
          requestDeserialize: request.deserialize,
          responseSerialize: response.serialize,
          responseDeserialize: response.deserialize,
        },
      },
      { DeltaVirtualHosts: serve },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return new VirtualHosts(server, port, asked);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.forceShutdown();
  }
}
