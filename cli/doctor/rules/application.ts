// SPDX-License-Identifier: Apache-2.0
import { text } from '../json.ts';
import { type HttpChain, managersOf, ownExchange } from '../model.ts';
import { type Finding, note, type Rule, warning } from '../rule.ts';

/** The header that tells an application who its client is. */

/** Runs a check on each chain before a server whose filter tells the application. */
const whereTold = (id: string, check: (at: HttpChain, where: string) => Finding[]): Rule => ({
  id,
  check: (proxy) =>
    managersOf(proxy).flatMap((at) => {
      const own = ownExchange(at.http)?.exchange;
      return own?.settings.tell_application && at.listener.direction !== 'OUTBOUND' ? check(at, own.where) : [];
    }),
});

export const applicationNotTold = whereTold('application-not-told', ({ http }, where) => {
  if (ownExchange(http)?.exchange?.lists.downstream_discovery.length) return [];
  const what = 'The application is never told who its client is: downstream_discovery is empty, so nobody asks.';
  return [warning(where, what, 'Add `"downstream_discovery": [{"istio_headers": {}}]`.')];
});

export const applicationToldOpen = whereTold('application-told-open', ({ http }, where) => {
  if (ownExchange(http)?.exchange?.failurePolicy !== 'FAIL_OPEN') return [];
  const what = 'With FAIL_OPEN a client can write the header of tell_application itself, should the module ever fail.';
  return [warning(where, what, 'Set `failure_policy: FAIL_CLOSED` where an application believes the header.')];
});

export const applicationUnderscores = whereTold('application-underscores', ({ http }, where) => {
  const action = text(http.config, 'common_http_protocol_options', 'headers_with_underscores_action');
  if (/REJECT_REQUEST|DROP_HEADER|^[12]$/.test(action)) return [];
  const what =
    'Many frameworks take a header with underscores for that of tell_application, and nobody removes that one.';
  return [note(where, what, 'Set `headers_with_underscores_action: REJECT_REQUEST`.')];
});
