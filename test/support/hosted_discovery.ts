// SPDX-License-Identifier: Apache-2.0
import type { Stream } from '../../testkit/host/host.ts';
import { Istiod } from '../../testkit/host/istiod.ts';
import { node } from '../../testkit/host/node.ts';
import { type Filter, HostedProxy, type HostedProxyOptions, type Plugin } from '../../testkit/host/proxy.ts';
import { struct } from '../../testkit/struct.ts';
import type { WorkloadFields } from '../../testkit/xds/messages.ts';

/** A proxy in the Node host that asks a control plane for workloads, and what its requests learn of addresses. */

/** What istiod ships to sidecars, in both directions. */
export const BOTH_SIDES = {
  downstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
  upstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
  downstream_propagation: [{ istio_headers: {} }],
  upstream_propagation: [{ istio_headers: {} }],
};

/** The cluster that is asked where the configuration names none. */
export const CLUSTER = 'workload-discovery';

/** Seconds after which a proxy that was started has its stream. */
export const STARTED = 5;
/** Seconds after which a worker no longer gives an answer that it kept. */
export const KEPT = 2;

export interface DiscoveryOptions extends Omit<HostedProxyOptions, 'clusters'> {
  config?: object;
  /** The network that the node says it is in. */
  network?: string;
  istiod?: Istiod;
  /** Other clusters. */
  clusters?: Record<string, Istiod>;
}

/** Who somebody is, as it was published. */
export type Who = Record<string, unknown> | undefined;

/** A proxy with its control plane. */
export class Discovery {
  readonly istiod: Istiod;
  readonly proxy: HostedProxy;
  readonly plugin: Plugin;
  readonly node: Buffer;

  constructor({ config = BOTH_SIDES, network, istiod = new Istiod(), clusters, ...more }: DiscoveryOptions = {}) {
    this.istiod = istiod;
    this.node = node({ id: 'own-id', metadata: { NAME: 'own', ...(network && { NETWORK: network }) } });
    const properties = {
      'xds.node': this.node,
      ...(network && { 'xds.node.metadata.NETWORK': Buffer.from(network) }),
      ...more.properties,
    };
    this.proxy = new HostedProxy({ ...more, properties, clusters: { [CLUSTER]: istiod, ...clusters } });
    this.plugin = this.proxy.load(config);
    this.proxy.pass(STARTED);
  }

  /** The first worker's filter. */
  get worker(): Filter {
    return this.plugin.workers[0];
  }

  /** Lets time pass until no worker gives an answer that it kept. */
  settle(): this {
    this.proxy.pass(KEPT);
    return this;
  }

  /** Who a request from an address comes from, as a worker says it. */
  client(address: string, filter = this.worker): Who {
    const stream = exchange(filter, { 'source.address': Buffer.from(address) });
    return learned(stream, 'downstream');
  }

  /** Who answers at an address, as a worker says it. */
  server(address: string, filter = this.worker): Who {
    const stream = exchange(filter, {}, { 'upstream.address': Buffer.from(address) });
    return learned(stream, 'upstream');
  }

  /** The names of those who have these IP addresses, on any worker and on both sides. */
  names(...addresses: string[]): (string | undefined)[] {
    return addresses.map((each) => {
      const text = each.includes(':') ? `[${each}]:80` : `${each}:80`;
      const answers = this.plugin.workers.flatMap((filter) => [this.client(text, filter), this.server(text, filter)]);
      const [first] = answers;
      if (answers.some((answer) => answer?.NAME !== first?.NAME)) {
        throw new Error(`${each} has several names: ${JSON.stringify(answers)}`);
      }
      return first?.NAME as string | undefined;
    });
  }

  /** A metric, over all VMs. */
  metric(name: string): number | undefined {
    return this.proxy.metric(name);
  }
}

/** A request and its answer, with what can be asked of the request, and of the response besides. */
export function exchange(
  { host, root }: Filter,
  request: Record<string, Buffer>,
  response: Record<string, Buffer> = {},
  headers: { request?: [string, string][]; response?: [string, string][] } = {},
): Stream {
  return host
    .stream(root)
    .with(request)
    .onRequest(...(headers.request ?? []))
    .with(response)
    .onResponse(...(headers.response ?? []))
    .end();
}

/** Who one side is, as a stream published it; undefined: nothing was published. */
export function learned({ filterState }: Stream, side: 'downstream' | 'upstream'): Who {
  const bytes = filterState[`envoy.wasm.metadata_exchange.${side}`];
  return bytes && struct.read(bytes);
}

/** A workload by its name, with addresses, and whatever else is said of it. */
export function pod(name: string, addresses: string[], more: WorkloadFields = {}): WorkloadFields & { uid: string } {
  return { uid: `Kubernetes//Pod/default/${name}`, name, namespace: 'default', addresses, ...more };
}
