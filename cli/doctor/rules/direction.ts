// SPDX-License-Identifier: Apache-2.0
import { type Exchange, has, hearsClaims } from '../exchange.ts';
import { allExchangesOf, behindRouter, exchangesOf, managersOf, ownExchange } from '../model.ts';
import { error, type Finding, note, type Rule, warning } from '../rule.ts';

/** Which way a listener looks, by its direction or by the four lists. */

export const noDirection: Rule = {
  id: 'no-direction',
  check(proxy) {
    // A waypoint is what no direction means.
    if (proxy.role === 'waypoint') return [];
    return allExchangesOf(proxy).flatMap(({ place, direction, hasLists, where }) => {
      if (direction || hasLists || place === 'cluster') return [];
      const what =
        'The listener has no traffic_direction, so the filter reads and tells on both sides, as a proxy in the middle does.';
      const todo =
        'Set `traffic_direction: INBOUND` before a server, OUTBOUND before a client. If it is in the middle, write all four lists, which says so.';
      return [warning(where, what, todo)];
    });
  },
};

export const oneSidedWaypoint: Rule = {
  id: 'one-sided-waypoint',
  check(proxy) {
    if (proxy.role !== 'waypoint') return [];
    return exchangesOf(proxy).flatMap(({ place, direction, hasLists, where }) => {
      if (!direction || hasLists || place !== 'listener') return [];
      const known = direction === 'INBOUND' ? 'clients and no servers' : 'servers and no clients';
      const what = `This waypoint knows ${known}: its listener has the direction ${direction}.`;
      return [warning(where, what, 'Write all four lists into the configuration: then the direction plays no part.')];
    });
  },
};

export const switchedOffByLists: Rule = {
  id: 'switched-off-by-lists',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http }) => {
      const own = ownExchange(http)?.exchange;
      if (!own?.hasLists) return [];
      const tellsBehind = behindRouter(proxy, http).some(({ lists }) => lists.upstream_propagation.length > 0);
      const learnsBehind = behindRouter(proxy, http).some(({ lists }) => lists.upstream_discovery.length > 0);
      return wrongLists(own, proxy.role, { tellsBehind, learnsBehind });
    });
  },
};

const TODO = 'As soon as one of the four lists is there they decide alone, and one that is not there is empty.';

function wrongLists(
  { lists, where, direction }: Exchange,
  role: string,
  { tellsBehind, learnsBehind }: { tellsBehind: boolean; learnsBehind: boolean },
): Finding[] {
  const { downstream_discovery, upstream_discovery, upstream_propagation, downstream_propagation } = lists;
  if (Object.values(lists).every((methods) => methods.length === 0)) {
    return [error(where, 'The filter does nothing: its lists are empty.', `${TODO} Fill them, or remove them all.`)];
  }
  const findings: Finding[] = [];
  if (direction === 'INBOUND' && downstream_discovery.length === 0) {
    const isEdge = role !== 'sidecar' && upstream_propagation.length > 0 && downstream_propagation.length === 0;
    const what = 'Clients are unknown at this listener: the lists are there, and downstream_discovery is not.';
    const todo = `${TODO} Add \`"downstream_discovery": [{"istio_headers": {}}]\`.`;
    if (isEdge) findings.push(note(where, what, 'At the edge of the mesh that is right.'));
    else findings.push(warning(where, what, todo));
  }
  if (direction === 'OUTBOUND' && upstream_discovery.length === 0 && !learnsBehind) {
    const what = 'Servers are unknown at this listener: the lists are there, and upstream_discovery is not.';
    findings.push(warning(where, what, `${TODO} Add \`"upstream_discovery": [{"istio_headers": {}}]\`.`));
  }
  const asks = has(upstream_discovery, 'istio_headers') && !upstream_discovery.some(({ name }) => !isClaim(name));
  if (asks && upstream_propagation.length === 0 && !tellsBehind) {
    const what =
      'Servers stay unknown: they answer only those that tell them who they are, and upstream_propagation is empty.';
    findings.push(warning(where, what, 'Add `"upstream_propagation": [{"istio_headers": {}}]`.'));
  }
  if (direction === 'INBOUND' && hearsClaims(downstream_discovery) && downstream_propagation.length === 0) {
    const what = 'Clients are not told who answered: downstream_propagation is empty.';
    findings.push(note(where, what, 'Add `"downstream_propagation": [{"istio_headers": {}}]` if they should know.'));
  }
  return findings;
}

const isClaim = (method: string) => method === 'istio_headers' || method === 'baggage';
