// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { filter, LONGER_THAN_ANY_SEARCH, listening, SERVER, VERSIONS } from '../../support/discovery.ts';
import { BOTH, DiscoveryStand } from '../../support/discovery_stand.ts';

/** A filter in a cluster's own chain finds the server by address, alone or beside one in a listener: still one stream. */

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const CODEC = {
  name: 'codec',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec',
  },
};
const CLIENTS = { downstream_discovery: [{ workload_discovery: {} }] };
const SERVERS = { upstream_discovery: [{ workload_discovery: {} }] };

test.concurrent.each(VERSIONS)('a filter in the cluster, on Envoy %s', async (_, version) => {
  await using stand = await DiscoveryStand.start({
    version,
    workers: 2,
    listeners: [listening('main', filter(CLIENTS)), { ...listening('bare', filter({})), filters: [] }],
    change: ({ static_resources }) => {
      const app = static_resources.clusters.find((each: { name: string }) => each.name === 'app');
      app.typed_extension_protocol_options[HTTP_OPTIONS].http_filters = [filter(SERVERS), CODEC];
    },
  });
  await stand.untilKnown();
  await stand.untilNames([undefined, SERVER.name], 'bare');
  await sleep(LONGER_THAN_ANY_SEARCH);
  expect(stand.server.streams).toHaveLength(1);
  expect(await stand.names()).toEqual(BOTH);
});
