// SPDX-License-Identifier: Apache-2.0
import { isOurs } from '../../plugin/find.ts';
import { allExchangesOf, filtersOf } from '../model.ts';
import { error, type Finding, type Rule, warning } from '../rule.ts';
import { moduleStat, stat } from '../stats.ts';

/** Whether Envoy has taken what it was given. */

/** The module writes its metrics once a second; a proxy that has just started has none yet. */
const YOUNG_SECONDS = 5;

export const notLoaded: Rule = {
  id: 'not-loaded',
  check(proxy) {
    const filters = filtersOf(proxy);
    const findings: Finding[] = filters
      .filter(({ isStandIn }) => isStandIn)
      .map(({ where, type }) => {
        const what = `Something else stands in the filter's place (${type}): the module could not be downloaded.`;
        const todo = "Read the log of Istio's agent for `wasm`: it says why. Then see docs/istio.md.";
        return error(where, what, todo);
      });
    for (const { isAwaited, name, where } of filters) {
      if (!isAwaited || !isOurs(name)) continue;
      const what = 'The configuration of the filter has not arrived from the control plane (ECDS).';
      const todo =
        'Look at its extension_config_discovery statistics, and at the log of the control plane and its agent.';
      findings.push(error(where, what, todo));
    }
    const { live } = proxy.source;
    if (!live || allExchangesOf(proxy).length === 0 || live.uptime < YOUNG_SECONDS) return findings;
    if (moduleStat(proxy, 'configurations') > 0) return findings;
    const what = 'The filter is in the configuration, and the module does not run: it was not loaded, or has failed.';
    return [...findings, error('', what, "Read Envoy's log: `grep -i wasm` shows why.")];
  },
};

export const refusedByEnvoy: Rule = {
  id: 'refused-by-envoy',
  check(proxy) {
    const { refused } = proxy.source;
    const findings = refused.map(({ name, why }) => {
      const what = `Envoy refused an update of it, and goes on with what it had: ${why}`;
      return error(name, what, 'Correct what it names. docs/upgrade.md says what you see in the log.');
    });
    const count = stat(proxy, /^listener_manager\.lds\.update_rejected$/);
    if (refused.length === 0 && count > 0) {
      const what = `Envoy has refused ${count} updates of its listeners since it started.`;
      findings.push(warning('', what, "Envoy's log says which and why: `grep rejected`."));
    }
    return findings;
  },
};
