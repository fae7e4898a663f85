// SPDX-License-Identifier: Apache-2.0
import { field, type Json, texts } from '../json.ts';
import { type Cluster, type ConnectionChain, connectionsOf, endpointsOf, type ProxyModel } from '../model.ts';
import { awaiting, error, type Finding, places, type Rule, some, warning } from '../rule.ts';
import { exchangesOn, readClients } from '../sides.ts';
import { moduleStat, times } from '../stats.ts';

/** The exchange on connections: whom the preface is for. */

/** What TLS negotiates where both sides have the exchange. */
const PROTOCOL = 'istio-peer-exchange';

const SEE = 'docs/tcp.md#whom-to-tell-preface says what to choose where.';

const prefaceOf = ({ exchange }: ConnectionChain): string => exchange.settings.preface ?? 'answer';

/** Whether an exchange looks at servers, by its lists or by its direction. */
const tellsServers = ({ exchange }: ConnectionChain) => exchange.lists.upstream_propagation.length > 0;

/** Whether metadata, as they stand on an endpoint, say that its proxy reads a preface. */
const asksForPreface = (json: Json) =>
  field(json, 'metadata', 'filter_metadata', 'envoy.wasm.metadata_exchange')?.preface === true;

/** Whether a cluster has this mark itself, where nobody reads it. */
const isMarkedItself = (cluster: Cluster) =>
  asksForPreface(cluster.config) && !endpointsOf(cluster).some(asksForPreface);

const offers = (tls: Json) => texts(tls, 'common_tls_context', 'alpn_protocols').includes(PROTOCOL);

/** Endpoints that a control plane sends cannot be seen here. */
const isFromControlPlane = ({ config }: Cluster) => field(config, 'eds_cluster_config') !== undefined;

export const prefaceForNobody: Rule = {
  id: 'preface-for-nobody',
  check(proxy) {
    return connectionsOf(proxy).flatMap((at): Finding[] => {
      if (at.listener.direction !== 'OUTBOUND' || !tellsServers(at)) return [];
      const preface = prefaceOf(at);
      if (preface === 'answer') {
        const what =
          'Before a client the filter does nothing with `preface: answer`, which is the default: no server is told.';
        return [warning(at.filter.where, what, `Set \`"preface": "endpoint_metadata"\`. ${SEE}`)];
      }
      if (preface !== 'endpoint_metadata') return [];
      const misplaced = proxy.clusters.filter(isMarkedItself);
      if (misplaced.length > 0) {
        const what =
          'The mark `preface: true` stands in the metadata of the cluster itself, where nobody reads it: so no server is told who the client is.';
        return [warning(places(misplaced), what, 'Move it to the metadata of each endpoint, in `lb_endpoints`.')];
      }
      const isAsked = proxy.clusters.some((each) => isFromControlPlane(each) || endpointsOf(each).some(asksForPreface));
      if (isAsked || proxy.clusters.length === 0) return [];
      const what = 'No server is told who the client is: no endpoint of this proxy asks for a preface in its metadata.';
      const todo =
        'Write `filter_metadata: {envoy.wasm.metadata_exchange: {preface: true}}` on endpoints whose proxy has the filter.';
      return [warning(at.filter.where, what, todo)];
    });
  },
};

export const prefaceForAll: Rule = {
  id: 'preface-for-all',
  check(proxy) {
    return connectionsOf(proxy).flatMap((at): Finding[] => {
      if (prefaceOf(at) !== 'always') return [];
      if (at.listener.direction === 'OUTBOUND') {
        const others = targetsOf(proxy, at).filter(({ tls }) => !offers(tls));
        if (others.length === 0) return [];
        const what = `With \`preface: always\` every server gets a preface, and one without the filter takes it for its client's first bytes: ${some(others.map(({ name }) => name))}.`;
        return [
          warning(at.filter.where, what, `Set \`"preface": "endpoint_metadata"\`, if not all of them read it. ${SEE}`),
        ];
      }
      if (texts(at.chain.config, 'filter_chain_match', 'application_protocols').includes(PROTOCOL)) return [];
      const what =
        "With `preface: always` every client gets a preface, and one without the filter takes it for the server's first bytes.";
      return [
        warning(at.filter.where, what, `Let only those come to this chain that offer ${PROTOCOL} in TLS. ${SEE}`),
      ];
    });
  },
};

/** The clusters that a chain's tcp_proxy goes to, as far as it names them. */
function targetsOf({ clusters }: ProxyModel, { chain }: ConnectionChain): Cluster[] {
  const named = JSON.stringify(
    chain.networkFilters.filter(({ type }) => /tcp_proxy/.test(type)).map(({ config }) => config),
  );
  return clusters.filter(({ name }) => named.includes(JSON.stringify(name)));
}

export const prefaceProtocol: Rule = {
  id: 'preface-protocol',
  check(proxy) {
    const servers = connectionsOf(proxy).filter(
      ({ chain }) =>
        texts(chain.config, 'filter_chain_match', 'application_protocols').includes(PROTOCOL) && !offers(chain.tls),
    );
    const findings = servers.map(({ chain }) => {
      const what = `The chain is for clients that offer ${PROTOCOL}, and its TLS does not agree to it: nobody comes here.`;
      return error(chain.where, what, `Add ${PROTOCOL} to alpn_protocols of its TLS context.`);
    });
    const isTelling = connectionsOf(proxy).some((at) => tellsServers(at) && prefaceOf(at) === 'endpoint_metadata');
    const clusters = proxy.clusters.filter(
      (each) => each.tls && !offers(each.tls) && endpointsOf(each).some(asksForPreface),
    );
    if (!isTelling || clusters.length === 0) return findings;
    const what = `Its endpoints ask for a preface, and its TLS does not offer ${PROTOCOL}: a server that tells clients apart by it takes the preface for data.`;
    return [...findings, warning(places(clusters), what, `Add ${PROTOCOL} to alpn_protocols of its TLS context.`)];
  },
};

export const prefaceRefused: Rule = {
  id: 'preface-refused',
  check(proxy) {
    const refused = moduleStat(proxy, 'preface_refused');
    const stalled = moduleStat(proxy, 'preface_stalled');
    const findings: Finding[] = [];
    if (refused > 0) {
      const what = `${times(refused, 'preface')} could not be read: too long (max_header_size), or malformed. These bytes went on to the application.`;
      findings.push(
        warning('', what, 'Make max_header_size larger here, or have the peer tell less with metadata_fields.'),
      );
    }
    if (stalled > 0) {
      const what = `${times(stalled, 'preface')} stopped for 5 seconds before its end.`;
      findings.push(warning('', what, 'Look at the network between the two, and at who else opens such connections.'));
    }
    return findings;
  },
};

export const noPreface: Rule = {
  id: 'no-preface',
  check(proxy) {
    if (connectionsOf(proxy).length === 0 || moduleStat(proxy, 'preface_found') > 0) return [];
    const without = moduleStat(proxy, 'preface_not_found');
    const sent = moduleStat(proxy, 'preface_sent');
    if (without === 0 && sent === 0) return [];
    const came =
      without > 0 ? `${times(without, 'connection')} came without a preface` : `${times(sent, 'preface')} went out`;
    const what = `${came}, and no peer of a connection ever sent one.`;
    const todo =
      'Ask the doctor about the other proxy: it has no filter on connections, or its `preface` is for nobody.';
    const readsClients = readClients(exchangesOn('TCP', proxy));
    return [awaiting(readsClients ? 'client' : 'server', 'TCP', warning('', what, todo))];
  },
};
