// SPDX-License-Identifier: Apache-2.0

import { type Learned, learnedOf } from '../../testkit/access_log.ts';
import {
  bridge,
  type Listener,
  metadataExchange,
  type ProxyOptions,
  probe,
  proxy,
} from '../../testkit/envoy/config.ts';
import { Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import { type Answer, type Answering, App, type Request, type Seen, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** What the proxy under test says of itself, unless told otherwise: keys in order, as it sends them. */
export const OWN = { LABELS: { app: 'own-app' }, NAME: 'own' };
export const OWN_HEADER = struct.header(OWN);
export const OWN_ID = 'own-node';

/** What the peer says that tests play, on either side. */
export const PEER = { NAME: 'peer', LABELS: { app: 'peer-app' } };
export const PEER_HEADER = struct.header(PEER);
export const PEER_ID = 'peer-node';

export interface ProxyStandOptions extends EnvoyOptions {
  direction?: 'INBOUND' | 'OUTBOUND';
  /** The plugin's configuration; none unless told. */
  config?: unknown;
  /** The own metadata; `undefined` for a node that has none. */
  metadata?: object;
  node?: object;
  /** What the server behind the proxy answers. */
  answer?: Answering;
  /** HTTP filters between ours and the router. */
  after?: object[];
  routes?: Listener['routes'];
  manager?: Listener['manager'];
  clusters?: ProxyOptions['clusters'];
}

/** One Envoy with our filter, the test on both its sides: as the client, and as the server behind. */
export class ProxyStand implements AsyncDisposable {
  private count = 0;

  private constructor(
    readonly envoy: Envoy,
    readonly app: App,
    readonly port: number,
  ) {}

  static async start(options: ProxyStandOptions = {}): Promise<ProxyStand> {
    const app = await App.start(options.answer);
    const own = 'metadata' in options ? options.metadata : OWN;
    const config = proxy({
      node: { id: OWN_ID, metadata: own && { 'istio.io/metadata': own }, ...options.node },
      listeners: [
        {
          name: 'listener',
          direction: options.direction,
          filters: [
            bridge('responses'),
            probe('probe responses'),
            metadataExchange(options.config),
            probe(),
            bridge(),
            ...(options.after ?? []),
          ],
          routes: options.routes,
          manager: options.manager,
        },
      ],
      clusters: { app: { port: app.port }, ...options.clusters },
    });
    try {
      const envoy = await Envoy.start(config, options);
      return new ProxyStand(envoy, app, await envoy.port('listener'));
    } catch (error) {
      await app[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sends a request; what the client got, what the application saw, and what the proxy learned. */
  async exchange(request: Request = {}): Promise<{ answer: Answer; seen: Seen | undefined; learned: Learned }> {
    const path = request.path ?? `/${this.count++}`;
    const before = this.app.seen.length;
    const answer = await send(this.port, { ...request, path });
    const seen = this.app.seen.slice(before).at(-1);
    return { answer, seen, learned: await learnedOf(this.envoy, path) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.app[Symbol.asyncDispose]();
  }
}
