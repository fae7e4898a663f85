// SPDX-License-Identifier: Apache-2.0
import { type Cause, withCauses } from './causes.ts';
import { type ProxyModel, proxyOf } from './model.ts';
import type { Finding, Rule, Severity } from './rule.ts';
import * as application from './rules/application.ts';
import * as bridge from './rules/bridge.ts';
import * as connections from './rules/connections.ts';
import * as direction from './rules/direction.ts';
import * as discovery from './rules/discovery.ts';
import * as failure from './rules/failure.ts';
import * as keys from './rules/keys.ts';
import * as loaded from './rules/loaded.ts';
import * as metrics from './rules/metrics.ts';
import * as outside from './rules/outside.ts';
import * as own from './rules/own.ts';
import * as place from './rules/place.ts';
import * as strangers from './rules/strangers.ts';
import * as together from './rules/together.ts';
import * as traffic from './rules/traffic.ts';
import * as verify from './rules/verify.ts';
import type { Source } from './source.ts';

/** All rules, in the order of docs/troubleshoot.md. A new one is a line here, a paragraph there, and a case in its test. */
export const RULES: Rule[] = [
  place.noFilter,
  place.listenerWithoutFilter,
  loaded.notLoaded,
  loaded.refusedByEnvoy,
  own.configurationRefused,
  place.switchedOff,
  place.answersFirst,
  place.twoExchanges,
  place.toldTwice,
  direction.noDirection,
  direction.oneSidedWaypoint,
  direction.switchedOffByLists,
  together.oneSideOnly,
  together.otherHeaders,
  traffic.nothingSent,
  traffic.nothingArrives,
  traffic.someUnknown,
  traffic.refused,
  traffic.oversize,
  traffic.streamsUnserved,
  traffic.cacheSmall,
  own.noOwnMetadata,
  own.ownMetadataCut,
  own.ownHeaderLarge,
  own.tellsSecrets,
  own.moduleWarns,
  bridge.bridgeOnWrongSide,
  bridge.noBridge,
  bridge.readsTooEarly,
  bridge.routeTooEarly,
  keys.wrongKey,
  keys.wrongForm,
  keys.notPublished,
  keys.asksForNobody,
  strangers.believesStrangers,
  strangers.tellsStrangers,
  strangers.forgedHeader,
  application.applicationNotTold,
  application.applicationToldOpen,
  application.applicationUnderscores,
  failure.noFailurePolicy,
  failure.openGateway,
  failure.openDenyRule,
  failure.vmFailed,
  outside.tellsOutside,
  outside.externalClusterTells,
  outside.toldByListener,
  outside.unmarkedAggregate,
  outside.claimsPass,
  connections.prefaceForNobody,
  connections.prefaceForAll,
  connections.prefaceProtocol,
  connections.prefaceRefused,
  connections.noPreface,
  discovery.discoveryCluster,
  discovery.discoveryKeepalive,
  discovery.discoveryVmId,
  discovery.discoveryDisconnected,
  discovery.discoveryNobody,
  discovery.discoveryRefused,
  discovery.discoveryUnstable,
  discovery.discoveryOnWorker,
  discovery.discoveryUnknown,
  metrics.noStatsTags,
  metrics.metricsInCluster,
  metrics.countedTwice,
  metrics.unboundedLogger,
  metrics.unnamedTraffic,
  verify.verifyWithoutCertificates,
  verify.anythingVerifies,
  verify.unverified,
  verify.mismatches,
  verify.unprovenRule,
  verify.unusedProof,
];

/** A finding with the rule that found it, and where more is said. */
export interface Diagnosis extends Finding {
  rule: string;
  link: string;
  /** Findings, of this proxy or another, of which this one follows. */
  causes: Cause[];
}

/** What was looked at, and what is wrong with it, worst first. */
export interface Examination {
  proxy: ProxyModel;
  diagnoses: Diagnosis[];
}

const WORST_FIRST: Severity[] = ['error', 'warning', 'note'];

/** Looks at proxies; each also in the light of the others. */
export function examine(sources: Source[]): Examination[] {
  const proxies = sources.map(proxyOf);
  const examinations = proxies.map((proxy) => {
    const others = proxies.filter((each) => each !== proxy);
    const found = RULES.flatMap((rule) => rule.check(proxy, others).map((finding) => diagnosis(rule, finding)));
    const diagnoses = WORST_FIRST.flatMap((severity) => found.filter((each) => each.severity === severity));
    return { proxy, diagnoses };
  });
  return withCauses(examinations);
}

const diagnosis = ({ id }: Rule, finding: Finding): Diagnosis => ({
  ...finding,
  rule: id,
  link: `docs/troubleshoot.md#${id}`,
  causes: [],
});
