// SPDX-License-Identifier: Apache-2.0
import type { Exchange } from '../exchange.ts';
import { texts } from '../json.ts';
import { behindRouter, connectionsOf, type HttpChain, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { connectionReadings, learnedIn, type Reading, readingsOf } from '../readings.ts';
import { error, type Finding, places, type Rule, some, warning } from '../rule.ts';
import { isPlainKey } from './bridge.ts';

/** Whether logs and filters look where the peer is. */

/** Runs a check on what each HTTP chain reads of peers. */
const onReadings =
  (check: (readings: Reading[], at: HttpChain, proxy: ProxyModel) => Finding[]) =>
  (proxy: ProxyModel): Finding[] =>
    managersOf(proxy).flatMap((at) => check(readingsOf(at.http, at.chain.where), at, proxy));

export const wrongKey: Rule = {
  id: 'wrong-key',
  check: onReadings((readings) => {
    const without = readings.filter(({ source }) => isPlainKey(source));
    const withPrefix = readings.filter(({ source }) => /DYNAMIC_METADATA\(wasm\.envoy/.test(source));
    const findings: Finding[] = [];
    if (without.length > 0) {
      const what = 'The key of filter state lacks its `wasm.`: nothing is found under it.';
      const todo = 'Write `wasm.envoy.wasm.metadata_exchange.…`. Only dynamic metadata has the name without it.';
      findings.push(error(places(without), what, todo));
    }
    if (withPrefix.length > 0) {
      const what = 'Dynamic metadata has no key that begins with `wasm.`: nothing is found under it.';
      const todo = 'Write `envoy.wasm.metadata_exchange.…`. Only filter state has `wasm.` before it.';
      findings.push(error(places(withPrefix), what, todo));
    }
    return findings;
  }),
};

/** What prints a Struct in filter state as bytes, or as nothing. */
const WRONG_FORM = /%FILTER_STATE\(wasm\.envoy\.wasm\.metadata_exchange\.(?:down|up)stream:(PLAIN|FIELD)/;

export const wrongForm: Rule = {
  id: 'wrong-form',
  check: onReadings((readings) => {
    const wrong = readings.filter(({ source }) => WRONG_FORM.test(source));
    if (wrong.length === 0) return [];
    const what = "The peer's Struct is printed as PLAIN or FIELD: that gives bytes, or nothing.";
    const todo =
      'Write `:TYPED` for the whole Struct, a `%CEL(…)%` for one field, or publish the field (publish_fields).';
    return [warning(places(wrong), what, todo)];
  }),
};

export const notPublished: Rule = {
  id: 'not-published',
  check: (proxy) => [
    ...onReadings((readings, { http }) => {
      const own = ownExchange(http)?.exchange;
      const fields = readings.filter(({ hasPrefix }) => hasPrefix);
      return unpublished([...(own ? [own] : []), ...behindRouter(proxy, http)], fields);
    })(proxy),
    ...connectionsOf(proxy).flatMap(({ chain, exchange }) =>
      unpublished(
        [exchange],
        connectionReadings(chain).map(({ filter, rest }) => ({ where: filter.where, rest })),
      ),
    ),
  ],
};

/** Plain fields that are read, and that none of these publishes. */
function unpublished(exchanges: Exchange[], readings: { where: string; rest: string }[]): Finding[] {
  const published = new Set(exchanges.flatMap(({ settings }) => texts(settings, 'publish_fields')));
  const missing = readings.filter(({ rest }) => rest.startsWith('.') && !published.has(rest.slice(1)));
  if (exchanges.length === 0 || missing.length === 0) return [];
  const fields = some(missing.map(({ rest }) => rest.slice(1)));
  const what = `Plain fields are read that the filter does not publish: ${fields}.`;
  return [error(places(missing), what, 'Name them in publish_fields, by the same paths.')];
}

export const asksForNobody: Rule = {
  id: 'asks-for-nobody',
  check: onReadings((readings, { http }, proxy) => {
    const learned = learnedIn(proxy, http);
    const sides = new Set(readings.map(({ side }) => side));
    const [side] = sides;
    // A log for both directions asks for both, and one of them stays empty: that is usual.
    if (sides.size !== 1 || learned[side] !== undefined) return [];
    if (learned.downstream === undefined && learned.upstream === undefined) return [];
    const [asked, known] = side === 'upstream' ? ['server', 'client'] : ['client', 'server'];
    const what = `It asks for the ${asked} (\`${side}\`), and this chain learns the ${known} only.`;
    const todo =
      '`downstream` is the client and `upstream` the server: exchange the two words, or let the filter learn the other side.';
    return [warning(places(readings), what, todo)];
  }),
};
