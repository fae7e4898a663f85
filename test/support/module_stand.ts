// SPDX-License-Identifier: Apache-2.0
import { Host, type Stream } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** The module in the Node host as a proxy of a direction, clients of each kind, and what a stream learned of them. */

export const PEER = struct.header({ NAME: 'peer' });
export const OWN: [string, string][] = [
  [METADATA, struct.header({ NAME: 'own' })],
  [ID, 'own-id'],
];
export const HEADERS = [{ istio_headers: {} }];
export const FOUR = {
  downstream_discovery: HEADERS,
  upstream_discovery: HEADERS,
  downstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
};
export const EXTERNAL = 'xds.cluster_metadata.filter_metadata.istio.external';
export const direction = (value: number) => Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]);
export const [MIDDLE, INBOUND, OUTBOUND] = [0, 1, 2];

export function proxy(value = MIDDLE): Host {
  return new Host({ 'xds.node': NODE, 'xds.listener_direction': direction(value) });
}

/** What a stream learned: NAME and id of each side. */
export function learned({ filterState }: Stream) {
  const side = (name: string) => {
    const key = `envoy.wasm.metadata_exchange.${name}`;
    const bytes = filterState[key];
    return {
      name: bytes && (struct.read(bytes) as { NAME?: string }).NAME,
      id: filterState[`${key}_id`]?.toString(),
    };
  };
  return { client: side('downstream'), server: side('upstream') };
}

export const NOBODY = { name: undefined, id: undefined };
export const clients: [string, [string, string][], string[], object][] = [
  [
    'both',
    [
      [METADATA, PEER],
      [ID, 'peer'],
    ],
    [METADATA, ID],
    { name: 'peer', id: 'peer' },
  ],
  ['an id', [[ID, 'peer']], [ID], { name: undefined, id: 'peer' }],
  ['metadata', [[METADATA, PEER]], [METADATA], { name: 'peer', id: undefined }],
  ['nothing', [], [], NOBODY],
  [
    'empty headers',
    [
      [METADATA, ''],
      [ID, ''],
    ],
    [METADATA, ID],
    NOBODY,
  ],
  ['an empty id', [[ID, '']], [ID], NOBODY],
  [
    'what cannot be read',
    [
      [METADATA, '!'],
      [ID, 'a\xff'],
    ],
    [METADATA, ID],
    NOBODY,
  ],
];
