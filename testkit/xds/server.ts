// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import {
  type ServerDuplexStream as Call,
  type Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { type DiscoveryRequest, readRequest, response, WORKLOAD, type WorkloadFields, workload } from './messages.ts';

/**
 * A control plane that hands out workloads, as istiod does: delta ADS, and nothing else. It keeps what each stream said,
 * so that a test can count the streams of a proxy and see what was acknowledged.
 */

const METHOD = 'DeltaAggregatedResources';
const PATH = `/envoy.service.discovery.v3.AggregatedDiscoveryService/${METHOD}`;

/** Messages go in and out as bytes: so a test can send any bytes, and sees what really came. */
const asIs = (bytes: Buffer) => bytes;
const SERVICE: ServiceDefinition = {
  [METHOD]: {
    path: PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
};

/** No limits: neither for what a proxy says, nor for what it is told. */
const OPTIONS = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

/** One stream, as the server saw it. */
export class DiscoveryStream {
  readonly openedAt = performance.now();
  /** When the server heard that it ended. */
  closedAt: number | undefined;
  readonly requests: DiscoveryRequest[] = [];
  /** The nonces of what it was sent, in order. */
  readonly sent: string[] = [];
  /** The resources that the client has, and their versions. */
  readonly known = new Map<string, string>();

  constructor(
    private readonly call: Call<Buffer, Buffer>,
    readonly metadata: Metadata,
    /** Address and port of the client: of the same connection if equal. */
    readonly peer: string,
  ) {}

  get open(): boolean {
    return this.closedAt === undefined;
  }

  /** The answer to a response, by its nonce: an ACK, or a NACK if it has an error. */
  answerTo(nonce: string): DiscoveryRequest | undefined {
    return this.requests.find((request) => request.responseNonce === nonce);
  }

  /** Why responses were refused: one message for each NACK. */
  get refusals(): string[] {
    return this.requests.flatMap(({ errorDetail }) => (errorDetail ? [errorDetail.message] : []));
  }

  /** Sends any bytes as a message. */
  send(bytes: Buffer): void {
    this.call.write(bytes);
  }

  /** Ends the stream with a status. */
  end(code: number, details: string): void {
    this.call.emit('error', { code, details });
  }
}

/** A workload that can be told apart from others. */
export type Named = WorkloadFields & { uid: string };

/** What there is under a name. */
interface Kept {
  version: string;
  body: Buffer;
}

export interface DiscoveryOptions {
  workloads?: Named[];
  /** Any free one unless told. */
  port?: number;
  /** How many resources a response has at the most; all of them unless told. */
  perResponse?: number;
  /** Plain text unless told. */
  credentials?: ServerCredentials;
}

/** The server. It can be stopped and started again, and keeps its port, its workloads and what it saw. */
export class WorkloadServer implements AsyncDisposable {
  /** Every stream that was ever opened, in order. */
  readonly streams: DiscoveryStream[] = [];
  private readonly resources = new Map<string, Kept>();
  private server: Server | undefined;
  private bound: number;
  private versions = 0;
  private nonces = 0;

  private constructor(private readonly options: DiscoveryOptions) {
    this.bound = options.port ?? 0;
    this.keep(options.workloads ?? []);
  }

  /** Starts a server on this machine. */
  static async start(options: DiscoveryOptions = {}): Promise<WorkloadServer> {
    const server = new WorkloadServer(options);
    await server.restart();
    return server;
  }

  get port(): number {
    return this.bound;
  }

  /** The streams that are open now. */
  get open(): DiscoveryStream[] {
    return this.streams.filter((stream) => stream.open);
  }

  /** How many milliseconds there was more than one stream, all in all. */
  overlap(now = performance.now()): number {
    const changes = this.streams.flatMap(({ openedAt, closedAt }) => [
      { at: openedAt, by: 1 },
      { at: closedAt ?? now, by: -1 },
    ]);
    changes.sort((a, b) => a.at - b.at || a.by - b.by);
    let [count, since, total] = [0, 0, 0];
    for (const { at, by } of changes) {
      if (count > 1) total += at - since;
      count += by;
      since = at;
    }
    return total;
  }

  /** Adds workloads, or replaces those of the same uid, on every stream. The nonce of the last response. */
  set(...workloads: Named[]): string {
    return this.replace(workloads, []);
  }

  /** Adds or replaces workloads and removes others, in one response. The nonce of the last one. */
  replace(workloads: Named[], uids: string[]): string {
    for (const uid of uids) this.resources.delete(uid);
    this.keep(workloads);
    return this.push();
  }

  /** Any bytes in the place of a workload. The nonce of the last response. */
  setRaw(name: string, body: Buffer): string {
    this.resources.set(name, { version: String(++this.versions), body });
    return this.push();
  }

  /** Removes workloads by their uids. The nonce of the last response. */
  remove(...uids: string[]): string {
    return this.replace([], uids);
  }

  /** Any bytes in the place of a whole response, on every stream. */
  sendRaw(bytes: Buffer): void {
    for (const stream of this.open) stream.send(bytes);
  }

  /** Whether every open stream, of which there is at least one, has answered the last that it was sent. */
  get settled(): boolean {
    const open = this.open;
    return open.length > 0 && open.every((stream) => stream.answerTo(stream.sent.at(-1) ?? '') !== undefined);
  }

  /** Ends everything at once: connections are cut. */
  stop(): void {
    this.server?.forceShutdown();
    this.server = undefined;
  }

  /** Serves again, at the same port. */
  async restart(): Promise<void> {
    const server = new Server(OPTIONS);
    server.addService(SERVICE, { [METHOD]: (call: Call<Buffer, Buffer>) => this.serve(call) });
    const { credentials = ServerCredentials.createInsecure() } = this.options;
    this.bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${this.bound}`, credentials, (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    this.server = server;
  }

  /** Asks all clients to leave (GOAWAY), and cuts the connections of those that are still there after a while. */
  goAway(graceMilliseconds: number): void {
    this.server?.drain(`127.0.0.1:${this.bound}`, graceMilliseconds);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
  }

  private keep(workloads: Named[]): void {
    for (const each of workloads) {
      const body = workload(each);
      if (this.resources.get(each.uid)?.body.equals(body)) continue;
      this.resources.set(each.uid, { version: String(++this.versions), body });
    }
  }

  private serve(call: Call<Buffer, Buffer>): void {
    const stream = new DiscoveryStream(call, call.metadata, call.getPeer());
    this.streams.push(stream);
    const over = () => {
      stream.closedAt ??= performance.now();
    };
    call.on('data', (bytes: Buffer) => this.hear(stream, readRequest(bytes)));
    call.on('end', () => call.end());
    for (const event of ['end', 'cancelled', 'error', 'close']) call.on(event, over);
  }

  private hear(stream: DiscoveryStream, request: DiscoveryRequest): void {
    stream.requests.push(request);
    if (stream.requests.length > 1) return;
    for (const [name, version] of Object.entries(request.initialResourceVersions)) stream.known.set(name, version);
    // Who asks is answered, even if there is nothing.
    if (request.typeUrl === WORKLOAD) this.tell(stream, 1);
  }

  /** Tells every stream that asked what is new. */
  private push(): string {
    for (const stream of this.open) {
      if (stream.requests.length > 0) this.tell(stream);
    }
    return String(this.nonces);
  }

  /** Sends a stream what its client does not have yet, in `least` responses or more. */
  private tell(stream: DiscoveryStream, least = 0): void {
    const news = [...this.resources].filter(([name, { version }]) => stream.known.get(name) !== version);
    let removed = [...stream.known.keys()].filter((name) => !this.resources.has(name));
    const { perResponse = news.length || 1 } = this.options;
    const responses = Math.max(least, Math.ceil(news.length / perResponse), Math.min(1, removed.length));
    for (let at = 0; at < responses * perResponse; at += perResponse) {
      const resources = news.slice(at, at + perResponse).map(([name, kept]) => ({ name, ...kept }));
      const nonce = String(++this.nonces);
      stream.sent.push(nonce);
      stream.send(response({ nonce, resources, removed }));
      for (const { name, version } of resources) stream.known.set(name, version);
      for (const name of removed) stream.known.delete(name);
      removed = [];
    }
  }
}
