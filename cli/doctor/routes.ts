// SPDX-License-Identifier: Apache-2.0
import { entries, field, type Json, list } from './json.ts';

/** What routes say of filters. */

/** What is said of a filter in `typed_per_filter_config`: where, and the configuration. */
export function perRoute(routes: Json, filter: string, where = 'the route table'): [string, Json][] {
  if (routes === null || typeof routes !== 'object') return [];
  const here = entries(routes, 'typed_per_filter_config').filter(([name]) => name === filter);
  const found = here.map(([, config]) => [where, config] as [string, Json]);
  for (const key of ['virtual_hosts', 'routes']) {
    for (const each of list(routes, key)) {
      const kind = key === 'routes' ? 'a route' : 'the virtual host';
      const called = field(each, 'name');
      found.push(...perRoute(each, filter, called ? `${kind} ${called}` : kind));
    }
  }
  return found;
}

/** Where a filter is switched off, among what is said of it. */
export const offIn = (said: [string, Json][]) =>
  said.filter(([, config]) => field(config, 'disabled') === true).map(([place]) => place);

/** Whether a filter that is `disabled: true` in its chain runs for some routes all the same. */
export function isSwitchedOn(routes: Json, filter: string): boolean {
  const said = perRoute(routes, filter);
  return said.length > offIn(said).length;
}
