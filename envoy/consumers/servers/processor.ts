// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { GrpcServer, type Json } from './grpc.ts';

/**
 * An external processor for Envoy's ext_proc: it writes the peer's app, which Envoy tells it as an attribute, into a
 * header of the request or the response. Run as a program it listens at the port 9003, and prints what it is told.
 */

/** Envoy sends attributes under its own name for the filter. */
const FILTER = 'envoy.filters.http.ext_proc';

export class Processor implements AsyncDisposable {
  /** What was told, oldest first: whether of a request or a response, the attributes, and the metadata. */
  readonly told: Json[] = [];

  private constructor(private readonly report: (told: Json) => void) {}

  private server: GrpcServer | undefined;

  static async start(port = 0, report: (told: Json) => void = () => undefined): Promise<Processor> {
    const processor = new Processor(report);
    processor.server = await GrpcServer.start(port, [
      {
        proto: 'processor.proto',
        name: 'envoy.service.ext_proc.v3.ExternalProcessor',
        methods: { Process: (message) => processor.process(message) },
      },
    ]);
    return processor;
  }

  get port(): number {
    return this.server!.port;
  }

  private process(message: Json): Json {
    const what = message.requestHeaders ? 'request' : 'response';
    const attributes = message.attributes?.[FILTER] ?? {};
    const told = { [what]: { attributes, metadata: message.metadataContext?.filterMetadata ?? {} } };
    this.told.push(told);
    this.report(told);
    const app = Object.entries(attributes).find(([name]) => name.endsWith('.app'))?.[1] ?? 'unknown';
    const key = what === 'request' ? 'x-called-by' : 'x-answered-by';
    const setHeaders = [{ header: { key, rawValue: Buffer.from(String(app)) } }];
    return { [`${what}Headers`]: { response: { headerMutation: { setHeaders } } } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server?.[Symbol.asyncDispose]();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await Processor.start(9003, (told) => console.log(JSON.stringify(told)));
}
