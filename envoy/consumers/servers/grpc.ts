// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** gRPC servers for Envoy to talk to, made from the messages under proto/. */

// biome-ignore lint/suspicious/noExplicitAny: a message as JSON
export type Json = any;

/** Takes a message, and may answer it. Of a call with one request the answer is the reply, of a stream one of many. */
export type Handler = (message: Json) => Json | undefined;

export interface Service {
  /** The file under proto/. */
  proto: string;
  /** The full name of the service. */
  name: string;
  methods: Record<string, Handler>;
}

const PROTO = join(import.meta.dirname, '../../../proto');

/** The messages of a file under proto/. A Struct is shown as the JSON that it stands for, wherever it is in a message. */
function load(file: string): protobuf.Root {
  const root = new protobuf.Root().loadSync(join(PROTO, file));
  const struct = root.lookup('google.protobuf.Struct', protobuf.Type);
  if (struct instanceof protobuf.Type) struct.setup().toObject = ofStruct;
  return root;
}

function ofStruct({ fields }: Json): Json {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, ofValue(value)]));
}

function ofValue(value: Json): Json {
  if (value.structValue) return ofStruct(value.structValue);
  if (value.listValue) return value.listValue.values.map(ofValue);
  return value.kind === 'nullValue' ? null : value[value.kind];
}

/** A server of one or more services. */
export class GrpcServer implements AsyncDisposable {
  private constructor(
    private readonly server: grpc.Server,
    readonly port: number,
  ) {}

  /** Starts one on this machine; port 0 is any free one. */
  static async start(port: number, services: Service[]): Promise<GrpcServer> {
    const server = new grpc.Server();
    for (const service of services) server.addService(...implemented(service));
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return new GrpcServer(server, bound);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.forceShutdown();
  }
}

function implemented(service: Service): [grpc.ServiceDefinition, grpc.UntypedServiceImplementation] {
  const { methods } = load(service.proto).lookupService(service.name);
  const definition: Record<string, grpc.MethodDefinition<Json, Json>> = {};
  const implementation: grpc.UntypedServiceImplementation = {};
  for (const [name, handler] of Object.entries(service.methods)) {
    const method = methods[name];
    method.resolve();
    const { requestStream = false, responseStream = false } = method;
    const [request, response] = [method.resolvedRequestType!, method.resolvedResponseType!];
    definition[name] = {
      path: `/${service.name}/${name}`,
      requestStream,
      responseStream,
      requestSerialize: (json) => Buffer.from(request.encode(request.fromObject(json)).finish()),
      requestDeserialize: (bytes) => request.toObject(request.decode(bytes), { bytes: Buffer, longs: Number }),
      responseSerialize: (json) => Buffer.from(response.encode(response.fromObject(json)).finish()),
      responseDeserialize: (bytes) => response.toObject(response.decode(bytes)),
    };
    implementation[name] = requestStream ? streaming(handler) : unary(handler);
  }
  return [definition, implementation];
}

function unary(handler: Handler): grpc.handleUnaryCall<Json, Json> {
  return (call, done) => done(null, handler(call.request) ?? {});
}

/** A stream of requests, and of answers if the method has such: `done` is there if it has one answer, at the end. */
function streaming(handler: Handler) {
  return (call: grpc.ServerDuplexStream<Json, Json>, done?: grpc.sendUnaryData<Json>) => {
    call.on('data', (message) => {
      const answer = handler(message);
      if (answer) call.write(answer);
    });
    call.on('error', () => undefined);
    call.on('end', () => (done ? done(null, {}) : call.end()));
  };
}
