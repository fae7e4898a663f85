// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';

/**
 * A gRPC service and its clients, for the configurations beside this file: calls that stay open, both sides speaking.
 *
 *     node_modules/.bin/tsx envoy/grpc-gateway/greeter.ts serve 50051
 *     node_modules/.bin/tsx envoy/grpc-gateway/greeter.ts call 15101 15102 15103
 */

/** JSON in place of protobuf: what is said plays no part here. */
const asJson = {
  requestSerialize: (said: string) => Buffer.from(JSON.stringify(said)),
  requestDeserialize: (bytes: Buffer) => JSON.parse(String(bytes)) as string,
  responseSerialize: (said: string) => Buffer.from(JSON.stringify(said)),
  responseDeserialize: (bytes: Buffer) => JSON.parse(String(bytes)) as string,
};
const GREET = { path: '/example.Greeter/Greet', requestStream: true, responseStream: true, ...asJson };

/** The header that tells calls from each other. */
const CALL = 'x-call';

/** The service: it answers whatever a call says with the call's name before it. */
export class Greeter {
  /** What came with the calls so far. */
  readonly seen: grpc.Metadata[] = [];

  private constructor(
    private readonly server: grpc.Server,
    readonly port: number,
  ) {}

  static async start(port = 0): Promise<Greeter> {
    const server = new grpc.Server();
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, at) =>
        error ? reject(error) : resolve(at),
      ),
    );
    const greeter = new Greeter(server, bound);
    server.addService(
      { Greet: GREET },
      {
        Greet: (call: grpc.ServerDuplexStream<string, string>) => {
          greeter.seen.push(call.metadata);
          const [name] = call.metadata.get(CALL);
          // At once, and not with the first answer: the client then knows that the call is open.
          call.sendMetadata(new grpc.Metadata());
          call.on('data', (said: string) => call.write(`${name}: ${said}`));
          call.on('end', () => call.end());
        },
      },
    );
    return greeter;
  }

  stop(): void {
    this.server.forceShutdown();
  }
}

/** A call that stays open until it is ended, on a connection of its own. */
export class Call {
  /** What came with the answer: headers, and at the end trailers. */
  readonly got: grpc.Metadata[] = [];

  private constructor(
    readonly name: string,
    private readonly client: grpc.Client,
    private readonly stream: grpc.ClientDuplexStream<string, string>,
  ) {}

  /** Opens a call, and waits until the server has it. */
  static async open(port: number, name: string): Promise<Call> {
    const options = { 'grpc.use_local_subchannel_pool': 1 };
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options);
    const metadata = new grpc.Metadata();
    metadata.set(CALL, name);
    const { path, requestSerialize, responseDeserialize } = GREET;
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    const call = new Call(name, client, stream);
    const [headers] = await once(stream, 'metadata');
    call.got.push(headers);
    return call;
  }

  /** Says something; the answer. */
  async say(what: string): Promise<string> {
    const answer = once(this.stream, 'data');
    this.stream.write(what);
    return (await answer)[0];
  }

  /** Ends the call; its status. */
  async end(): Promise<grpc.status> {
    const status = once(this.stream, 'status');
    this.stream.end();
    const [{ code, metadata }] = (await status) as [grpc.StatusObject];
    this.got.push(metadata);
    this.client.close();
    return code;
  }
}

const [, script, what, ...ports] = process.argv;
if (script === import.meta.filename && what === 'serve') {
  const { port } = await Greeter.start(Number(ports[0]));
  console.log(`listening at ${port}`);
} else if (script === import.meta.filename && what === 'call') {
  const calls = await Promise.all(ports.map((port) => Call.open(Number(port), `call-at-${port}`)));
  console.log(`${calls.length} calls are open`);
  for (const call of calls) console.log(await call.say('hello'));
  for (const call of calls) await call.end();
}
