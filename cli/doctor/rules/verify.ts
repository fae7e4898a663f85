// SPDX-License-Identifier: Apache-2.0
import { type Exchange, hearsClaims } from '../exchange.ts';
import { field, type Json } from '../json.ts';
import { connectionsOf, exchangesOf, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { readingsOf } from '../readings.ts';
import { error, type Finding, note, type Rule, warning } from '../rule.ts';
import { moduleStat, times } from '../stats.ts';
import { asksForCertificate } from './strangers.ts';

/** Claims and certificates. */

function modeOf(exchange: Exchange | undefined): string | undefined {
  const mode = exchange?.settings.verify_peer?.mode;
  return mode && mode !== 'off' ? mode : undefined;
}

/** What becomes of unverified peers. */
const LOST: Record<string, string> = {
  mark: 'every peer is `unverified`',
  enforce: 'every peer is `unverified`, and its id is not published',
  require: 'nothing is ever published',
};

export const verifyWithoutCertificates: Rule = {
  id: 'verify-without-certificates',
  check: (proxy) => [...requestsWithout(proxy), ...connectionsWithout(proxy)],
};

/** Connections to a server whose clients show no certificate. */
function connectionsWithout(proxy: ProxyModel): Finding[] {
  return connectionsOf(proxy).flatMap(({ exchange, chain }) => {
    const mode = modeOf(exchange);
    if (!mode || exchange.lists.downstream_discovery.length === 0) return [];
    if (field(chain.tls, 'require_client_certificate') === true) return [];
    const what = `verify_peer compares claims with certificates, and this chain asks for none: ${LOST[mode]}.`;
    const todo = 'Give the chain a TLS context with `require_client_certificate: true`.';
    return [(mode === 'require' ? error : warning)(exchange.where, what, todo)];
  });
}

function requestsWithout(proxy: ProxyModel): Finding[] {
  return managersOf(proxy).flatMap((at): Finding[] => {
    const own = ownExchange(at.http)?.exchange;
    const mode = modeOf(own);
    if (!own || !mode) return [];
    const say = mode === 'require' ? error : warning;
    const findings: Finding[] = [];
    if (own.lists.downstream_discovery.length > 0 && !asksForCertificate(at)) {
      const what = `verify_peer compares claims with certificates, and this listener asks for none: ${LOST[mode]}.`;
      findings.push(say(own.where, what, 'Give the chain a TLS context with `require_client_certificate: true`.'));
    }
    const asked = proxy.clusters.filter(({ isExternal, filters }) => !isExternal && filters.length === 0);
    if (own.lists.upstream_discovery.length > 0 && asked.length > 0 && asked.every(({ tls }) => !tls)) {
      const what = `verify_peer compares claims of servers with certificates, and no cluster speaks TLS: ${LOST[mode]}.`;
      findings.push(say(own.where, what, 'Give the clusters an UpstreamTlsContext with a certificate of the mesh.'));
    }
    return findings;
  });
}

export const anythingVerifies: Rule = {
  id: 'anything-verifies',
  check(proxy) {
    if (!exchangesOf(proxy).some(modeOf)) return [];
    const chains = managersOf(proxy).filter((at) => modeOf(ownExchange(at.http)?.exchange) && at.chain.tls);
    const contexts: [string, Json][] = [
      ...chains.map(({ chain }) => [chain.where, chain.tls] as [string, Json]),
      ...proxy.clusters.flatMap(({ where, tls, isExternal }) =>
        tls && !isExternal ? [[where, tls] as [string, Json]] : [],
      ),
    ];
    return contexts.flatMap(([where, tls]) => {
      if (checksCertificates(field(tls, 'common_tls_context'))) return [];
      const what =
        'Envoy does not check certificates here, so that anybody can write any name into one: everything looks verified.';
      const todo =
        'Give the TLS context a validation_context with the trusted_ca of the mesh, without ACCEPT_UNTRUSTED.';
      return [error(where, what, todo)];
    });
  },
};

function checksCertificates(common: Json): boolean {
  const combined = field(common, 'combined_validation_context');
  const context = field(common, 'validation_context') ?? field(combined, 'default_validation_context') ?? {};
  const verification = field(context, 'trust_chain_verification');
  if (verification === 'ACCEPT_UNTRUSTED' || verification === 1) return false;
  return [
    field(context, 'trusted_ca'),
    field(context, 'ca_certificate_provider_instance'),
    field(context, 'custom_validator_config'),
    field(combined, 'validation_context_sds_secret_config'),
    field(common, 'validation_context_sds_secret_config'),
  ].some((each) => each !== undefined);
}

export const unverified: Rule = {
  id: 'unverified',
  check(proxy) {
    const count = moduleStat(proxy, 'unverified');
    if (count === 0) return [];
    const behind = hasCertificates(proxy) ? ' although the listener asks for certificates' : '';
    const what = `The certificate proves nothing of what ${times(count, 'peer')} claimed${behind}.`;
    const todo =
      'It has no SPIFFE URI, or says nothing of a claim: plain text, a URI of another form, or nothing to compare. Look for `unverified` in the access log.';
    return [warning('', what, todo)];
  },
};

const hasCertificates = (proxy: ProxyModel) => managersOf(proxy).some(asksForCertificate);

export const mismatches: Rule = {
  id: 'mismatches',
  check(proxy) {
    const count = moduleStat(proxy, 'mismatches');
    if (count === 0) return [];
    const what = `The certificate disproves what ${times(count, 'peer')} claimed.`;
    const todo =
      'Find them in the access log: `downstream_verified` is `mismatch`. A wrong NAMESPACE or trust domain in their node, or a forged claim.';
    return [warning('', what, todo)];
  },
};

export const unprovenRule: Rule = {
  id: 'unproven-rule',
  check(proxy) {
    return managersOf(proxy).flatMap((at): Finding[] => {
      const mode = modeOf(ownExchange(at.http)?.exchange);
      // Then nobody is published whose claims are not proven.
      if (mode === 'require') return [];
      const readings = readingsOf(at.http, at.chain.where).filter(
        ({ filter }) => filter && /\.rbac\./.test(filter.type),
      );
      const filters = [...new Set(readings.map(({ filter }) => filter))];
      return filters.flatMap((filter): Finding[] => {
        if (!filter) return [];
        const asksVerdict = readings.some((each) => each.filter === filter && each.rest === '_verified');
        // With `require` nothing else is published.
        if ((asksVerdict && mode) || mode === 'require') return [];
        if (asksVerdict) {
          const what = 'The rule asks for the verdict of verify_peer, which is off: there is never one.';
          return [
            error(filter.where, what, 'Set `verify_peer: {mode: enforce}` in the configuration of the exchange.'),
          ];
        }
        const todo = 'Let the rule ask for `verified` too: docs/secure.md#let-a-rule-follow-the-verdict.';
        if (!asksForCertificate(at)) {
          return [
            note(filter.where, 'The rule goes by what a peer says of itself, which is a claim and no proof.', todo),
          ];
        }
        const what = 'The rule goes by what a peer says of itself, although its certificate could prove it.';
        return [warning(filter.where, what, todo)];
      });
    });
  },
};

export const unusedProof: Rule = {
  id: 'unused-proof',
  check(proxy) {
    return managersOf(proxy).flatMap((at) => {
      const own = ownExchange(at.http)?.exchange;
      if (!own || modeOf(own) || !asksForCertificate(at) || !hearsClaims(own.lists.downstream_discovery)) return [];
      const what = 'Peers show certificates here, and their claims are not compared with them: verify_peer is off.';
      return [note(own.where, what, 'Set `verify_peer: {mode: mark}` to see the verdict, and then `enforce`.')];
    });
  },
};
