// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ChannelCredentials, Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { node } from '../../testkit/host/node.ts';
import { readResponse, readWorkload, WORKLOAD } from '../../testkit/xds/messages.ts';

const Request = protobuf
  .loadSync(join(ROOT, 'proto/xds.proto'))
  .lookupType('envoy.service.discovery.v3.DeltaDiscoveryRequest');
const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

export type Response = ReturnType<typeof readResponse>;
export type Workload = ReturnType<typeof readWorkload>;

export interface DeltaOptions {
  node?: { id: string; metadata?: object };
  /** What the client has already, by name. */
  versions?: Record<string, string>;
  /** The file with the root certificate: with TLS. */
  root?: string;
  /** The client's own certificate. */
  certificate?: { chain: string; key: string };
  token?: string;
}

/** A node as istiod demands it: four parts, of which the second is an address, unless metadata has INSTANCE_IPS. */
export const NODE = { id: 'sidecar~127.0.0.1~client.default~default.svc.cluster.local' };

/** A plain client of istiod's workload discovery: what our module does, without it. It acknowledges all that comes. */
export class DeltaClient implements Disposable {
  readonly responses: Response[] = [];
  /** Why the stream ended. */
  error: Error | undefined;
  private readonly stream: ClientDuplexStream<Buffer, Buffer>;
  private readonly client: Client;

  constructor(address: string, options: DeltaOptions = {}) {
    this.client = new Client(address, channel(options), {
      // Whom istiod's certificate names.
      'grpc.ssl_target_name_override': 'istiod.istio-system.svc',
    });
    const same = (bytes: Buffer) => bytes;
    const metadata = new Metadata();
    if (options.token) metadata.set('authorization', `Bearer ${options.token}`);
    this.stream = this.client.makeBidiStreamRequest(METHOD, same, same, metadata);
    this.stream.on('data', (bytes: Buffer) => {
      const response = readResponse(bytes);
      this.responses.push(response);
      this.send({ responseNonce: response.nonce });
    });
    this.stream.on('error', (error) => {
      this.error = error;
    });
    this.send({ node: node(options.node ?? NODE), initialResourceVersions: options.versions ?? {} });
  }

  private send(fields: object): void {
    this.stream.write(Buffer.from(Request.encode({ typeUrl: WORKLOAD, ...fields }).finish()));
  }

  /** Waits for so many responses. */
  async until(count: number): Promise<Response> {
    for (const end = Date.now() + 20_000; this.responses.length < count; await sleep(20)) {
      if (this.error) throw this.error;
      if (Date.now() > end) throw new Error(`istiod sent ${this.responses.length} responses, not ${count}`);
    }
    return this.responses[count - 1];
  }

  [Symbol.dispose](): void {
    this.stream.cancel();
    this.client.close();
  }
}

function channel({ root, certificate }: DeltaOptions): ChannelCredentials {
  if (!root) return credentials.createInsecure();
  if (!certificate) return credentials.createSsl(readFileSync(root));
  return credentials.createSsl(readFileSync(root), readFileSync(certificate.key), readFileSync(certificate.chain));
}

/** The workloads of a response, by name. */
export function workloadsOf(response: Response): Record<string, Workload> {
  return Object.fromEntries(response.resources.map((each) => [each.name, readWorkload(each.body as Buffer)]));
}
