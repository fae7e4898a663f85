// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import net, { type AddressInfo, type Socket } from 'node:net';

/** One connection that was made through the relay, and the one behind it. */
interface Pair {
  near: Socket;
  far: Socket;
  /** Nothing passes any more, in neither direction. */
  dead: boolean;
}

/**
 * A relay between a client and a server of this machine, in which connections can die silently, as behind a firewall
 * that forgot them: both ends still think that they are connected.
 */
export class Relay implements AsyncDisposable {
  private readonly pairs = new Set<Pair>();
  private hangs = false;

  private constructor(private readonly server: net.Server) {}

  /** Starts one before this port. */
  static async start(target: number): Promise<Relay> {
    const server = net.createServer();
    const relay = new Relay(server);
    server.on('connection', (near) => relay.join(near, net.connect(target, '127.0.0.1')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** How many connections were made through it and have not ended. */
  get connections(): number {
    return this.pairs.size;
  }

  /** From now on nothing passes on the connections that there are. New ones work, unless those are to hang as well. */
  hang({ newOnes = false } = {}): void {
    for (const pair of this.pairs) pair.dead = true;
    this.hangs = newOnes;
  }

  /** New connections work again. */
  recover(): void {
    this.hangs = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { near, far } of this.pairs) {
      near.destroy();
      far.destroy();
    }
    await new Promise((resolve) => this.server.close(resolve));
  }

  private join(near: Socket, far: Socket): void {
    const pair: Pair = { near, far, dead: this.hangs };
    this.pairs.add(pair);
    const forward = (from: Socket, to: Socket) => {
      from.on('data', (bytes) => pair.dead || to.write(bytes));
      from.on('error', () => undefined);
      from.on('close', () => {
        // The client gave up: the server must not hear of it either, as long as the test does not end.
        if (pair.dead) return;
        to.destroy();
        this.pairs.delete(pair);
      });
    };
    forward(near, far);
    forward(far, near);
  }
}
