// SPDX-License-Identifier: Apache-2.0
import { type Exchange, usesDiscovery } from '../exchange.ts';
import { entries, field, type Json, seconds, typeOf } from '../json.ts';
import { allExchangesOf, type ProxyModel } from '../model.ts';
import { error, type Finding, note, places, type Rule, some, warning } from '../rule.ts';
import { moduleStat, times } from '../stats.ts';

/** Workload discovery: peers by their addresses, from what a control plane says. */

/** Those who look addresses up, by the name of the cluster that they ask. */
function askers(proxy: ProxyModel): Map<string, Exchange[]> {
  const all = new Map<string, Exchange[]>();
  for (const exchange of [...allExchangesOf(proxy), ...proxy.services]) {
    if (!usesDiscovery(exchange)) continue;
    const cluster = exchange.settings.workload_discovery?.cluster ?? 'workload-discovery';
    all.set(cluster, [...(all.get(cluster) ?? []), exchange]);
  }
  return all;
}

const wheres = (exchanges: Exchange[]) => places(exchanges);

/** The HTTP/2 options of a cluster: undefined if it does not speak HTTP/2, an empty object if it does without any. */
function http2Of(cluster: Json): Json {
  const [, options] = entries(cluster, 'typed_extension_protocol_options').find(([, any]) =>
    typeOf(any).endsWith('.HttpProtocolOptions'),
  ) ?? ['', undefined];
  return (
    field(options, 'explicit_http_config', 'http2_protocol_options') ??
    field(options, 'auto_config', 'http2_protocol_options') ??
    (field(options, 'auto_config') && {}) ??
    field(cluster, 'http2_protocol_options')
  );
}

export const discoveryCluster: Rule = {
  id: 'discovery-cluster',
  check(proxy) {
    return Array.from(askers(proxy)).flatMap(([name, exchanges]): Finding[] => {
      const cluster = proxy.clusters.find((each) => each.name === name);
      if (!cluster && !proxy.source.isWhole) return [];
      if (!cluster) {
        const what = `There is no cluster ${name}, by which the control plane of workload_discovery is asked.`;
        const todo = 'Add it, or name another one in workload_discovery.cluster. docs/discovery.md shows one.';
        return [error(wheres(exchanges), what, todo)];
      }
      if (http2Of(cluster.config) !== undefined) return [];
      const what = 'The control plane is asked by gRPC, and this cluster does not speak HTTP/2.';
      return [error(cluster.where, what, 'Give it `explicit_http_config: {http2_protocol_options: {}}`.')];
    });
  },
};

/** istiod breaks connections that ask more often than this. */
const SHORTEST_SECONDS = 15;

export const discoveryKeepalive: Rule = {
  id: 'discovery-keepalive',
  check(proxy) {
    return Array.from(askers(proxy).keys()).flatMap((name): Finding[] => {
      const cluster = proxy.clusters.find((each) => each.name === name);
      const http2 = http2Of(cluster?.config);
      if (!cluster || http2 === undefined) return [];
      const interval = seconds(field(http2, 'connection_keepalive', 'interval'));
      const todo = 'Set `connection_keepalive: {interval: 30s, timeout: 5s}` in its http2_protocol_options.';
      if (interval === undefined) {
        const what = 'The stream to the control plane has no keepalive: a dead connection looks like a quiet one.';
        return [warning(cluster.where, what, todo)];
      }
      if (interval >= SHORTEST_SECONDS) return [];
      const what = `Keepalive asks every ${interval} s: istiod breaks connections that ask more often than every ${SHORTEST_SECONDS}.`;
      return [warning(cluster.where, what, todo)];
    });
  },
};

export const discoveryVmId: Rule = {
  id: 'discovery-vm-id',
  check(proxy) {
    return Array.from(askers(proxy)).flatMap(([name, exchanges]) => {
      const ids = new Set(exchanges.map(({ vmId }) => vmId));
      if (ids.size < 2) return [];
      const named = [...ids].map((id) => id || 'none');
      const what = `Those that ask the cluster ${name} have different vm_ids (${some(named)}), and do not share what is known: each opens a stream of its own.`;
      return [warning(wheres(exchanges), what, 'Give the service and all filters the same vm_id, or none.')];
    });
  },
};

/** Seconds within which a stream is opened. */
const YOUNG_SECONDS = 15;

/** Only of a running proxy that asks a control plane. */
const whileRunning = (check: (proxy: ProxyModel, live: { uptime: number }) => Finding[]) => (proxy: ProxyModel) => {
  const { live } = proxy.source;
  if (!live || askers(proxy).size === 0 || moduleStat(proxy, 'configurations') === 0) return [];
  return check(proxy, live);
};

export const discoveryDisconnected: Rule = {
  id: 'discovery-disconnected',
  check: whileRunning((proxy, { uptime }) => {
    const failures = moduleStat(proxy, 'discovery_failures');
    if (moduleStat(proxy, 'discovery_connected') > 0 || (uptime < YOUNG_SECONDS && failures === 0)) return [];
    const known = moduleStat(proxy, 'discovery_workloads');
    const age = moduleStat(proxy, 'discovery_age');
    const old =
      known > 0
        ? ` What is known, ${times(known, 'workload')}, is ${age} s old: an address may be another's by now.`
        : '';
    const what = `The control plane of workload_discovery is not connected, after ${times(failures, 'failure')}.${old}`;
    const todo = `Look at the cluster ${some([...askers(proxy).keys()])}: its address, its TLS, its token; and at the control plane's log.`;
    return [error('', what, todo)];
  }),
};

export const discoveryNobody: Rule = {
  id: 'discovery-nobody',
  check: whileRunning((proxy, { uptime }) => {
    const isConnected = moduleStat(proxy, 'discovery_connected') > 0;
    if (!isConnected || uptime < YOUNG_SECONDS || moduleStat(proxy, 'discovery_workloads') > 0) return [];
    const what = 'The control plane is connected, and says that there is nobody.';
    return [
      error('', what, 'Set PILOT_ENABLE_AMBIENT in istiod; or the cluster leads to another server than you think.'),
    ];
  }),
};

export const discoveryRefused: Rule = {
  id: 'discovery-refused',
  check: whileRunning((proxy) => {
    const count = moduleStat(proxy, 'discovery_refused');
    if (count === 0) return [];
    const what = `${times(count, 'resource')} of the control plane could not be taken: these workloads are unknown.`;
    return [warning('', what, "The control plane's log names them: `ACK ERROR` in istiod.")];
  }),
};

/** istiod ends a connection twice an hour by itself. */
const MOST_AN_HOUR = 6;

export const discoveryUnstable: Rule = {
  id: 'discovery-unstable',
  check: whileRunning((proxy, { uptime }) => {
    const failures = moduleStat(proxy, 'discovery_failures');
    if (moduleStat(proxy, 'discovery_connected') === 0 || failures <= MOST_AN_HOUR * Math.max(1, uptime / 3600))
      return [];
    const what = `The stream to the control plane does not stay: it ended ${failures} times in ${Math.ceil(uptime / 60)} minutes.`;
    const todo =
      "Make keepalive's interval 30 s, and read the control plane's log: two streams of one node end each other.";
    return [warning('', what, todo)];
  }),
};

export const discoveryOnWorker: Rule = {
  id: 'discovery-on-worker',
  check: whileRunning((proxy) => {
    if (moduleStat(proxy, 'discovery_on_worker') === 0) return [];
    const what = 'A worker keeps the stream to the control plane, since no VM was found on the main thread.';
    return [note('', what, 'It works. Please report it, with the version of Envoy.')];
  }),
};

/** So many lookups in vain for each that found somebody are no accident. */
const MOST_UNKNOWN = 10;

export const discoveryUnknown: Rule = {
  id: 'discovery-unknown',
  check: whileRunning((proxy) => {
    const unknown = moduleStat(proxy, 'discovery_unknown');
    const found = moduleStat(proxy, 'discovery_found');
    if (moduleStat(proxy, 'discovery_workloads') === 0 || unknown < MOST_UNKNOWN || unknown < MOST_UNKNOWN * found)
      return [];
    const network = field(proxy.node, 'metadata', 'NETWORK');
    const own = network === undefined ? 'the node has no NETWORK' : `the node's NETWORK is ${network}`;
    const what = `Most addresses are nobody's: ${times(found, 'lookup')} found a workload, and ${unknown} did not.`;
    const todo = `In a mesh with networks set the node's NETWORK (${own}). Else they are addresses of gateways, of a NAT, or of pods with hostNetwork.`;
    return [warning('', what, todo)];
  }),
};
