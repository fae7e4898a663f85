// SPDX-License-Identifier: Apache-2.0
import { hearsClaims } from '../exchange.ts';
import { field, type Json, list, text, texts } from '../json.ts';
import { type HttpChain, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { readingsOf } from '../readings.ts';
import { error, type Finding, type Rule, warning } from '../rule.ts';

/** What a gateway believes of strangers, and tells them. */

/** Whether a chain asks its clients for a certificate. */
export const asksForCertificate = ({ chain }: HttpChain) => field(chain.tls, 'require_client_certificate') === true;

/**
 * Whether strangers come in: a gateway does not ask its clients for a certificate; or a listener of any proxy that
 * speaks TLS and does not ask either, which is for people who are not of the mesh.
 */
export function facesStrangers(proxy: ProxyModel, at: HttpChain): 'surely' | 'likely' | undefined {
  if (asksForCertificate(at)) return undefined;
  if (proxy.role === 'router') return 'surely';
  return at.chain.tls ? 'likely' : undefined;
}

const LISTS =
  'Configure the two upstream lists and no downstream list: `{"upstream_discovery": [{"istio_headers": {}}], "upstream_propagation": [{"istio_headers": {}}]}`.';

const why = (sure: 'surely' | 'likely') =>
  sure === 'surely' ? 'this is a gateway' : 'the listener speaks TLS and asks for no certificate';

export const believesStrangers: Rule = {
  id: 'believes-strangers',
  check(proxy) {
    return managersOf(proxy).flatMap((at): Finding[] => {
      const own = ownExchange(at.http)?.exchange;
      const sure = facesStrangers(proxy, at);
      if (!own || !sure || !hearsClaims(own.lists.downstream_discovery)) return [];
      if (own.settings.verify_peer?.mode === 'require') return [];
      const what = `Strangers are believed who they say they are: ${why(sure)}, and the filter reads what clients claim.`;
      return [(sure === 'surely' ? error : warning)(own.where, what, LISTS)];
    });
  },
};

export const tellsStrangers: Rule = {
  id: 'tells-strangers',
  check(proxy) {
    return managersOf(proxy).flatMap((at): Finding[] => {
      const own = ownExchange(at.http)?.exchange;
      const sure = facesStrangers(proxy, at);
      if (!own || !sure || own.lists.downstream_propagation.length === 0) return [];
      const what = `Strangers that ask are told who this proxy is, with all of its metadata: ${why(sure)}.`;
      return [(sure === 'surely' ? error : warning)(own.where, what, LISTS)];
    });
  },
};

export const forgedHeader: Rule = {
  id: 'forged-header',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http, chain }) => {
      const whole = [http.routes, ...http.filters.map(({ config }) => config)];
      const removed = new Set(whole.flatMap(removedIn));
      const readers = new Set(readingsOf(http, chain.where).map(({ source }) => source));
      const made = whole.flatMap(madeIn).filter(({ value }) => readers.has(value));
      return made.flatMap(({ key }) => {
        if (removed.has(key)) return [];
        const what = `A client can write the request header ${key} itself: for a peer that is unknown nothing takes its place.`;
        const todo =
          'Remove the header from requests first: `request_headers_to_remove`, or `remove` in header mutation.';
        return [warning(chain.where, what, todo)];
      });
    });
  },
};

/** Headers that are taken away from requests, anywhere in routes or in header mutation. */
function removedIn(json: Json): string[] {
  return objectsIn(json).flatMap((each) => [
    ...texts(each, 'request_headers_to_remove').map((name) => name.toLowerCase()),
    ...list(each, 'request_mutations').flatMap((mutation) => text(mutation, 'remove').toLowerCase() || []),
  ]);
}

/** Headers that are added to requests, with their values. */
function madeIn(json: Json): { key: string; value: string }[] {
  return objectsIn(json).flatMap((each) =>
    [
      ...list(each, 'request_headers_to_add').map((added) => field(added, 'header')),
      ...list(each, 'request_mutations').map((mutation) => field(mutation, 'append', 'header')),
    ]
      .filter((header) => header !== undefined)
      .map((header) => ({ key: text(header, 'key').toLowerCase(), value: text(header, 'value') })),
  );
}

/** A JSON value's objects, the value itself first. */
function objectsIn(json: Json): Json[] {
  if (json === null || typeof json !== 'object') return [];
  const inside = Object.values(json).flatMap(objectsIn);
  return Array.isArray(json) ? inside : [json, ...inside];
}
