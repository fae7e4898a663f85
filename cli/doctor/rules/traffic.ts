// SPDX-License-Identifier: Apache-2.0
import { type Exchange, hearsClaims } from '../exchange.ts';
import { type HttpChain, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { awaiting, error, type Finding, note, type Rule, warning } from '../rule.ts';
import { moduleStat, requestsAt, times } from '../stats.ts';

/** What the counters of a running proxy say. */

/** Why a header was refused: what is wrong with it, and what to do. */
const CAUSES: Record<string, [what: string, todo: string]> = {
  refused_base64: ['are not strict base64', 'written'],
  refused_protobuf: ['are not a well-formed Struct', 'written'],
  refused_utf8: ['have a string that is not UTF-8', 'written'],
  refused_no_json_form: ['have a value without a JSON form, such as NaN', 'written'],
  refused_nesting: ['are nested deeper than Envoy reads', 'written'],
  refused_control: ['have a control character, such as a line break, in a string', 'node'],
  refused_id: ['are ids that are not UTF-8, or have control characters', 'node'],
  refused_baggage: ['are baggage of several workloads at once', 'baggage'],
};

const TODO: Record<string, string> = {
  written:
    'This filter does not write such headers: find out who does. `metadata-exchange decode` shows where one is broken.',
  node: "Correct the node's id and metadata of the peer: these requests have an unknown peer in the log.",
  baggage: 'Find out who on the way adds to the baggage of others.',
};

export const refused: Rule = {
  id: 'refused',
  check(proxy) {
    return Object.entries(CAUSES).flatMap(([name, [what, todo]]) => {
      const count = moduleStat(proxy, name);
      if (count === 0) return [];
      const which = `${times(count, 'peer header')} could not be read (${name}): they ${what}.`;
      return [warning('', which, TODO[todo])];
    });
  },
};

export const oversize: Rule = {
  id: 'oversize',
  check(proxy) {
    const count = moduleStat(proxy, 'oversize');
    if (count === 0) return [];
    const what = `Larger than max_header_size of this proxy, and not read: ${times(count, 'peer header')}.`;
    const todo = 'Make max_header_size larger here, or have the peer tell less with metadata_fields.';
    return [warning('', what, todo)];
  },
};

const SEEN = [
  'peers_received',
  'oversize',
  'mismatches',
  'unverified',
  'cache_hits',
  'cache_misses',
  ...Object.keys(CAUSES),
];

/** How often anything of a peer's came, readable or not. */
export const peersSeen = (proxy: ProxyModel) => SEEN.reduce((sum, each) => sum + moduleStat(proxy, each), 0);

/** Chains with our filter for which something holds. */
const chainsWith = (proxy: ProxyModel, matches: (own: Exchange) => boolean): HttpChain[] =>
  managersOf(proxy).filter(({ http }) => {
    const own = ownExchange(http)?.exchange;
    return own !== undefined && matches(own);
  });

const prefixesOf = (chains: HttpChain[]) => chains.map(({ http }) => http.statPrefix);

export const nothingSent: Rule = {
  id: 'nothing-sent',
  check(proxy) {
    const telling = chainsWith(proxy, ({ lists }) =>
      lists.upstream_propagation.some(({ name, skipsExternal }) => name === 'istio_headers' && !skipsExternal),
    );
    const requests = requestsAt(proxy, prefixesOf(telling));
    if (telling.length === 0 || requests === 0 || moduleStat(proxy, 'headers_sent') > 0) return [];
    const what = `${times(requests, 'request')} went out, and none had our headers.`;
    const todo =
      'The filter did not run: an earlier filter answered, a route switches it off, or the VM failed under FAIL_OPEN. Read the log.';
    return [error(telling[0].chain.where, what, todo)];
  },
};

export const nothingArrives: Rule = {
  id: 'nothing-arrives',
  check(proxy) {
    const fromClients = chainsWith(proxy, ({ lists }) => hearsClaims(lists.downstream_discovery));
    const fromServers = chainsWith(proxy, ({ lists }) => hearsClaims(lists.upstream_discovery));
    const byAddress = moduleStat(proxy, 'discovery_found');
    if (!proxy.source.live || peersSeen(proxy) > 0 || byAddress > 0) return [];
    const findings: Finding[] = [];
    const got = requestsAt(proxy, prefixesOf(fromClients));
    if (got > 0) {
      const what = `${times(got, 'request')} came, and no client told its metadata.`;
      const todo = `Ask the doctor about the client's proxy. Either it tells nobody, or only its id, or under other header names than ${headersAt(fromClients)}; or something in between takes them.`;
      findings.push(awaiting('client', 'HTTP', warning(fromClients[0].chain.where, what, todo)));
    }
    const sent = requestsAt(proxy, prefixesOf(fromServers));
    if (sent > 0 && moduleStat(proxy, 'headers_sent') > 0) {
      const what = `${times(sent, 'request')} went out with our headers, and no server answered with its metadata.`;
      const todo = `Ask the doctor about the server's proxy. Either it has no filter, or other header names than ${headersAt(fromServers)}, or its listener is not INBOUND.`;
      findings.push(awaiting('server', 'HTTP', warning(fromServers[0].chain.where, what, todo)));
    }
    return findings;
  },
};

const headersAt = ([first]: HttpChain[]) => ownExchange(first.http)?.exchange?.headers.join(' and ') ?? '';

/** Fewer unknown peers than this, or a smaller part of all, are no news. */
const FEW = 10;
const SMALL_PART = 0.1;

export const someUnknown: Rule = {
  id: 'some-unknown',
  check(proxy) {
    const fromClients = chainsWith(proxy, ({ lists }) => hearsClaims(lists.downstream_discovery));
    const fromServers = chainsWith(proxy, ({ lists }) => hearsClaims(lists.upstream_discovery));
    // The counters do not tell the two sides apart.
    if (fromClients.length > 0 === fromServers.length > 0) return [];
    const [reading] = [...fromClients, ...fromServers];
    const all = requestsAt(proxy, prefixesOf([...fromClients, ...fromServers]));
    const read = moduleStat(proxy, 'peers_received');
    const counted = [...Object.keys(CAUSES), 'oversize', 'discovery_found'];
    const unknown = all - read - counted.reduce((sum, each) => sum + moduleStat(proxy, each), 0);
    if (read === 0 || unknown < FEW || unknown < all * SMALL_PART) return [];
    const side = fromClients.length > 0 ? 'client' : 'server';
    const what = `Of ${times(all, 'request')} ${unknown} have a ${side} that told no metadata.`;
    const todo = `Probes, and ${side}s without the filter, say nothing: docs/discovery.md knows them by their addresses. The access log shows which requests.`;
    return [note(reading.chain.where, what, todo)];
  },
};

export const streamsUnserved: Rule = {
  id: 'streams-unserved',
  check(proxy) {
    const count = moduleStat(proxy, 'streams_unserved');
    if (count === 0) return [];
    const what = `${times(count, 'request')} had no peer, because more streams were open in a VM than it serves (131,072).`;
    return [warning('', what, 'Give Envoy more workers (`--concurrency`), or bound its connections.')];
  },
};

/** So many entries pushed out for each that was found say that the cache is too small. */
const MANY_EVICTIONS = 0.1;

export const cacheSmall: Rule = {
  id: 'cache-small',
  check(proxy) {
    const evictions = moduleStat(proxy, 'cache_evictions');
    if (evictions === 0 || evictions < moduleStat(proxy, 'cache_hits') * MANY_EVICTIONS) return [];
    const what = `There are more peers than the cache keeps: ${times(evictions, 'peer')} had to go.`;
    return [note('', what, 'Make max_peer_cache_size larger: docs/size.md says what it costs.')];
  },
};
