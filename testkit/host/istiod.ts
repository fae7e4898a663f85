// SPDX-License-Identifier: Apache-2.0
import {
  type DiscoveryRequest,
  type ResourceFields,
  type ResponseFields,
  readRequest,
  resource,
  response,
  type WorkloadFields,
} from '../xds/messages.ts';
import type { GrpcServer, GrpcStream } from './grpc.ts';

/** What a stream asked for, one after the other. */
export interface Conversation {
  stream: GrpcStream;
  requests: DiscoveryRequest[];
}

/** Who wants to know what is said. */
export interface Listener {
  /** A stream began with this request. */
  began(request: DiscoveryRequest): void;
  /** This goes to the stream. */
  sent(message: Buffer): void;
}

/** A control plane for the Node host: it serves workloads as istiod does, and what a test puts into its mouth. */
export class Istiod implements GrpcServer {
  isUp = true;
  /** What it answers a stream's first request with by itself; false: nothing. */
  answers = true;
  /** Whether it sends everything to a new stream, whatever that says it has. */
  ignoresVersions = false;
  /** How many streams were begun, refused ones too. */
  attempts = 0;
  /** How many resources it puts into one response. */
  batch = 1000;
  listener: Listener | undefined;
  /** All streams that there ever were. */
  readonly conversations: Conversation[] = [];
  /** What it serves, by the names of the resources. */
  readonly resources = new Map<string, ResourceFields>();

  private nonce = 0;
  private version = 0;

  /** The streams that are open. */
  get open(): GrpcStream[] {
    return this.conversations.map(({ stream }) => stream).filter(({ isOpen }) => isOpen);
  }

  /** All requests, of all streams. */
  get requests(): DiscoveryRequest[] {
    return this.conversations.flatMap(({ requests }) => requests);
  }

  /** The request that came last. */
  get last(): DiscoveryRequest {
    const last = this.conversations.at(-1)?.requests.at(-1);
    if (!last) throw new Error('nobody asked anything');
    return last;
  }

  /** Serves workloads from now on, and tells who listens: of one with a known uid it is an update. */
  serve(...workloads: (WorkloadFields & { uid: string })[]): void {
    this.serveAll(workloads);
  }

  /** The same for very many. */
  serveAll(workloads: (WorkloadFields & { uid: string })[]): void {
    this.serveResources(workloads.map((fields) => resource(fields, String(++this.version))));
  }

  /** Serves resources of any content from now on, and tells who listens. */
  serveResources(resources: ResourceFields[]): void {
    for (const each of resources) this.resources.set(each.name, each);
    this.push({ resources });
  }

  /** Serves resources no longer, and tells who listens. */
  remove(...names: string[]): void {
    this.removeAll(names);
  }

  /** The same for very many. */
  removeAll(names: string[]): void {
    for (const name of names) this.resources.delete(name);
    this.push({ removed: names });
  }

  /** Says something to all who listen, whatever it serves. */
  push({ resources = [], ...more }: ResponseFields): void {
    const last = resources.length - 1;
    for (let at = 0; at === 0 || at <= last; at += this.batch) {
      const part = resources.slice(at, at + this.batch);
      const rest = at === 0 ? more : {};
      this.pushBytes(response({ ...rest, resources: part, nonce: `nonce-${++this.nonce}` }));
    }
  }

  /** Sends bytes to all who listen. */
  pushBytes(message: Buffer): void {
    for (const stream of this.open) this.send(stream, message);
  }

  /** Ends all streams, with a status of gRPC. */
  hangUp(status = 14, message = 'the server is shutting down'): void {
    for (const stream of this.open) stream.close(status, message);
  }

  onStream(stream: GrpcStream): void {
    this.conversations.push({ stream, requests: [] });
  }

  onMessage(stream: GrpcStream, message: Buffer): void {
    const requests = this.conversations.find((each) => each.stream === stream)?.requests;
    if (!requests) throw new Error('a message of a stream that never began');
    const request = readRequest(message);
    requests.push(request);
    if (requests.length === 1) this.listener?.began(request);
    if (requests.length === 1 && this.answers)
      this.answer(stream, this.ignoresVersions ? {} : request.initialResourceVersions);
  }

  onEnd(): void {}

  /** Sends one stream what it does not have, and what is gone of what it has. */
  private answer(stream: GrpcStream, has: Record<string, string>): void {
    const news = [...this.resources.values()].filter(({ name, version }) => has[name] !== version);
    const removed = Object.keys(has).filter((name) => !this.resources.has(name));
    for (let at = 0; at === 0 || at < news.length; at += this.batch) {
      const resources = news.slice(at, at + this.batch);
      this.send(stream, response({ resources, removed: at === 0 ? removed : [], nonce: `nonce-${++this.nonce}` }));
    }
  }

  private send(stream: GrpcStream, message: Buffer): void {
    this.listener?.sent(message);
    stream.send(message);
  }
}
