// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import type { Host } from './host.ts';
import { type Calls, INTERNAL_FAILURE, NOT_FOUND, OK } from './memory.ts';

const UNAVAILABLE = 14;
/** Tokens of streams are every fourth number from here on; each VM counts its own. */
const FIRST_TOKEN = 2;

/** A server that a cluster leads to. */
export interface GrpcServer {
  /** False: nothing listens. */
  isUp: boolean;
  /** How many streams were begun, refused ones too. */
  attempts: number;
  /** A stream began. */
  onStream(stream: GrpcStream): void;
  /** The module sent a message. */
  onMessage(stream: GrpcStream, message: Buffer): void;
  /** The stream is over, whoever ended it. */
  onEnd(stream: GrpcStream): void;
}

/** A gRPC stream between a module and a server. */
export class GrpcStream {
  /** What the module sent. */
  readonly sent: Buffer[] = [];
  /** Whether the server may still send. */
  isOpen = true;
  /** Whether the module closed its side. */
  isClosedByModule = false;

  constructor(
    readonly host: Host,
    readonly root: number,
    readonly token: number,
    readonly method: string,
    private readonly server: GrpcServer,
  ) {}

  /** Delivers a message to the module. */
  send(message: Buffer): void {
    this.host.process.post(() => {
      if (this.isOpen) this.host.grpcReceive(this.root, this.token, message);
    });
  }

  /** Ends it with a status of gRPC, which the module is told. */
  close(status = 0, message = ''): void {
    this.host.process.post(() => this.finish(status, message));
  }

  /** Delivers a message to the server. */
  receive(message: Buffer): void {
    this.sent.push(message);
    this.host.process.post(() => {
      if (this.isOpen) this.server.onMessage(this, message);
    });
  }

  /** Begins: at once, or with a refusal. */
  begin(): void {
    this.host.process.post(() => {
      if (!this.isOpen) return;
      this.server.attempts++;
      if (this.server.isUp) this.server.onStream(this);
      else this.finish(UNAVAILABLE, 'upstream connect error or disconnect/reset before headers');
    });
  }

  private finish(status: number, message: string): void {
    if (!this.isOpen) return;
    this.over();
    this.host.grpcClose(this.root, this.token, status, message);
    if (this.isClosedByModule) this.host.grpc.delete(this.token);
  }

  /** Ends it without a word to the module. */
  over(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.server.onEnd(this);
  }
}

/** The cluster that a serialized envoy.config.core.v3.GrpcService names: envoy_grpc.cluster_name. */
function clusterOf(service: Buffer): string {
  const field = (bytes: Uint8Array) => {
    const reader = protobuf.Reader.create(bytes);
    if (reader.uint32() !== 0x0a) throw new Error('the module names a gRPC service that is none of Envoy’s');
    return reader.bytes();
  };
  return Buffer.from(field(field(service))).toString();
}

/** The host calls for gRPC, of one VM. */
export function grpcCalls(host: Host): Calls {
  let nextToken = FIRST_TOKEN;
  return {
    proxy_grpc_stream: (at, size, nameAt, nameSize, methodAt, methodSize, metadataAt, metadataSize, tokenTo) => {
      const token = nextToken;
      nextToken += 4;
      const cluster = clusterOf(host.memory.bytes(at, size));
      const method = `/${host.memory.text(nameAt, nameSize)}/${host.memory.text(methodAt, methodSize)}`;
      host.memory.bytes(metadataAt, metadataSize);
      const server = host.process.clusters[cluster];
      const root = host.effective;
      if (!server) {
        // Envoy's own order: it refuses at once, and afterwards closes a stream whose token it never gave.
        host.process.post(() => host.grpcClose(root, token, UNAVAILABLE, 'Cluster not available'));
        return INTERNAL_FAILURE;
      }
      const stream = new GrpcStream(host, root, token, method, server);
      host.grpc.set(token, stream);
      host.memory.write32(token, tokenTo);
      // What a canary begins never leaves: it is gone before.
      if (!host.isCanary) stream.begin();
      return OK;
    },
    proxy_grpc_send: (token, at, size, endOfStream) => {
      const stream = host.grpc.get(token);
      if (!stream || stream.isClosedByModule) return NOT_FOUND;
      if (!host.isCanary) stream.receive(host.memory.bytes(at, size));
      if (endOfStream) stream.isClosedByModule = true;
      return OK;
    },
    proxy_grpc_close: (token) => {
      const stream = host.grpc.get(token);
      if (!stream) return NOT_FOUND;
      stream.isClosedByModule = true;
      // A server that hears of it ends its side, too.
      if (stream.isOpen) stream.close();
      else host.grpc.delete(token);
      return OK;
    },
    proxy_grpc_cancel: (token) => {
      const stream = host.grpc.get(token);
      if (!stream) return NOT_FOUND;
      stream.over();
      host.grpc.delete(token);
      return OK;
    },
    proxy_get_status: (codeTo, atTo, sizeTo) => {
      host.memory.write32(host.status.code, codeTo);
      return host.memory.answer(Buffer.from(host.status.message), atTo, sizeTo);
    },
  };
}
