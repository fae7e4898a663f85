// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';
import { Random } from '../../testkit/random.ts';
import { nextRequest, type SoakRequest } from './requests.ts';

/** Keep-alive connections, each with two requests on their way: more than two takes Envoy for a flood of pipelining. */
const CONNECTIONS = 64;
const DEPTH = 2;

export interface LoadOptions {
  port: number;
  requests: number;
  seed: number;
  /** The headers that the proxy says of itself. */
  own: { metadata: string; id: string };
}

/** Sends requests until all are answered, or ended as they were meant to, and looks at every answer. */
export class Load {
  /** Requests that are over. */
  done = 0;
  readonly kinds = new Map<string, number>();
  readonly failures: string[] = [];
  failed = 0;
  private sent = 0;
  private readonly random: Random;
  private readonly connections = new Set<Connection>();
  private finish: () => void = () => undefined;
  readonly finished = new Promise<void>((resolve) => {
    this.finish = resolve;
  });

  constructor(readonly options: LoadOptions) {
    this.random = new Random(options.seed);
    for (let i = 0; i < CONNECTIONS; i++) this.connect();
  }

  stop(): void {
    for (const each of this.connections) each.socket.destroy();
    this.connections.clear();
    this.finish();
  }

  /** The next request, or none if enough were sent. */
  next(): SoakRequest | undefined {
    return this.sent < this.options.requests ? nextRequest(this.sent++, this.random) : undefined;
  }

  over(request: SoakRequest): void {
    this.kinds.set(request.kind, (this.kinds.get(request.kind) ?? 0) + 1);
    if (++this.done === this.options.requests) this.finish();
  }

  fail(request: Pick<SoakRequest, 'kind'>, problem: string): void {
    this.failed++;
    if (this.failures.length < 20) this.failures.push(`${request.kind}: ${problem}`);
  }

  /** Replaces a connection that ended. */
  closed(connection: Connection): void {
    if (this.connections.delete(connection) && this.done < this.options.requests) this.connect();
  }

  private connect(): void {
    this.connections.add(new Connection(this));
  }
}

class Connection {
  readonly socket: net.Socket;
  /** Requests that were sent and not answered, oldest first. */
  private readonly waiting: SoakRequest[] = [];
  private received = '';
  /** The last request ends the connection. */
  private ending = false;

  constructor(private readonly load: Load) {
    this.socket = net.connect(load.options.port, '127.0.0.1', () => this.fill());
    this.socket.setNoDelay(true);
    this.socket.on('data', (chunk) => this.read(chunk.toString('latin1')));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => this.close());
  }

  private fill(): void {
    let text = '';
    while (this.waiting.length < DEPTH && !this.ending) {
      const request = this.load.next();
      if (!request) break;
      this.waiting.push(request);
      text += request.text;
      this.ending = request.end !== undefined;
    }
    if (text) this.socket.write(text, 'latin1');
    else if (this.waiting.length === 0) this.socket.destroy();
    this.resetInTime();
  }

  /** A client that resets does so when everything before is answered, at once or a moment later. */
  private resetInTime(): void {
    if (this.waiting.length !== 1 || this.waiting[0].end !== 'client resets') return;
    setTimeout(() => this.socket.resetAndDestroy(), this.load.done % 10);
  }

  private read(text: string): void {
    this.received = this.received ? this.received + text : text;
    let at = 0;
    for (let end = 0; ; at = end) {
      const blank = this.received.indexOf('\r\n\r\n', at);
      if (blank < 0) break;
      const head = this.received.slice(at, blank + 2);
      end = blank + 4 + Number(headerOf(head, 'content-length') ?? 0);
      const request = this.waiting[0];
      if (!request) {
        this.load.fail({ kind: 'nobody' }, `was answered: ${head}`);
        this.socket.destroy();
        return;
      }
      if (end > this.received.length) {
        // Half an answer is all that some get.
        if (request.end === 'client resets mid-answer') this.socket.resetAndDestroy();
        break;
      }
      this.waiting.shift();
      if (request.end) this.load.fail(request, 'was answered in full');
      this.check(request, head);
      this.load.over(request);
    }
    this.received = this.received.slice(at);
    if (at > 0) this.fill();
  }

  private check(request: SoakRequest, head: string): void {
    const { own } = this.load.options;
    const expect = (what: string, value: string | undefined, expected: (string | undefined)[]) => {
      if (!expected.includes(value)) this.load.fail(request, `${what} is ${value}, expected ${expected.join(' or ')}`);
    };
    expect('status', head.slice(9, 12), [String(request.status)]);
    expect('metadata', headerOf(head, 'x-istio-peer-metadata'), [request.answered.metadata ? own.metadata : undefined]);
    expect('id', headerOf(head, 'x-istio-peer-id'), [request.answered.id ? own.id : undefined]);
    if (request.status === 200) expect('learned', headerOf(head, 'x-learned'), request.learned);
  }

  private close(): void {
    for (const request of this.waiting) {
      if (!request.end) this.load.fail(request, 'the connection ended without an answer');
      if (request.end === 'upstream breaks off' || request.end === 'client resets mid-answer') {
        if (!this.received.startsWith('HTTP/1.1 200')) this.load.fail(request, `got no half answer: ${this.received}`);
        else this.check(request, this.received);
      }
      this.load.over(request);
    }
    this.load.closed(this);
  }
}

/** A header's value; the head ends with a line's end. */
function headerOf(head: string, name: string): string | undefined {
  const at = head.indexOf(`\r\n${name}: `);
  return at < 0 ? undefined : head.slice(at + name.length + 4, head.indexOf('\r\n', at + 2));
}
