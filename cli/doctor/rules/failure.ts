// SPDX-License-Identifier: Apache-2.0
import { field } from '../json.ts';
import { allExchangesOf, managersOf, ownExchange } from '../model.ts';
import { readingsOf } from '../readings.ts';
import { places, type Rule, warning } from '../rule.ts';
import { stat, times } from '../stats.ts';
import { facesStrangers } from './strangers.ts';

/** What happens to requests if the module fails. */

export const noFailurePolicy: Rule = {
  id: 'no-failure-policy',
  check(proxy) {
    const without = allExchangesOf(proxy).filter(({ failurePolicy }) => failurePolicy === undefined);
    if (without.length === 0) return [];
    const what =
      "There is no failure_policy: should the module ever fail, Envoy's default answers each request with 503 from then on.";
    const todo =
      'Choose on purpose: FAIL_OPEN for logs and metrics, FAIL_CLOSED at the edge. docs/failure-policy.md has a table.';
    return [warning(places(without), what, todo)];
  },
};

export const openGateway: Rule = {
  id: 'open-gateway',
  check(proxy) {
    return managersOf(proxy).flatMap((at) => {
      const own = ownExchange(at.http)?.exchange;
      if (own?.failurePolicy !== 'FAIL_OPEN' || facesStrangers(proxy, at) !== 'surely') return [];
      const what = "With FAIL_OPEN strangers' headers reach the mesh, should the module of this gateway ever fail.";
      return [warning(own.where, what, 'Set `failure_policy: FAIL_CLOSED` at the edge.')];
    });
  },
};

export const openDenyRule: Rule = {
  id: 'open-deny-rule',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http, chain }) => {
      const policy = ownExchange(http)?.exchange?.failurePolicy;
      if (policy !== 'FAIL_OPEN' && policy !== 'FAIL_RELOAD') return [];
      const readers = readingsOf(http, chain.where).flatMap(({ filter }) => filter ?? []);
      return [...new Set(readers)].flatMap(({ config, type, where }) => {
        const action = field(config, 'rules', 'action');
        if (!/\.rbac\./.test(type) || (action !== 'DENY' && action !== 1)) return [];
        const what =
          'A rule refuses known peers: an unknown peer passes it, and every peer is unknown should the module fail.';
        const todo = 'Let the rule say who may, and not who may not; or set `failure_policy: FAIL_CLOSED`.';
        return [warning(where, what, todo)];
      });
    });
  },
};

export const vmFailed: Rule = {
  id: 'vm-failed',
  check(proxy) {
    const names = [...new Set(allExchangesOf(proxy).map(({ name }) => name))];
    return names.flatMap((name) => {
      const count = stat(proxy, new RegExp(`^wasm\\.${escaped(name)}\\.vm_reload_(success|failure)$`));
      if (count === 0) return [];
      const what = `The VM of ${name} has failed since the proxy started: Envoy counts ${times(count, 'reload')} of it.`;
      const todo =
        "Read Envoy's log for `Function: proxy_on_`, and report it: nothing that a peer sends should do that.";
      return [warning('', what, todo)];
    });
  },
};

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
