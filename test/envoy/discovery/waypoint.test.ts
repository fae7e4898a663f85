// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { serve } from '../../../tools/workload-server.ts';
import { OLDEST_AND_NEWEST } from '../../support/discovery.ts';
import { logged } from '../../support/shipped.ts';

/** envoy/waypoint-discovery as it is shipped: a proxy in the middle that neither reads nor sends headers. */

const FOLDER = 'envoy/waypoint-discovery';

/** The addresses of the folder's workloads. */
const [PRODUCTPAGE, RATINGS, BARE] = ['127.0.0.5', '127.0.0.2', '127.0.0.6'];

const DESTINATION = {
  destination_app: 'ratings',
  destination_version: 'version-1',
  destination_workload: 'ratings-v1',
  destination_principal: 'spiffe://cluster.global/ns/default/sa/ratings',
  destination_cluster: 'ratings-cluster',
};
const SOURCE = {
  source_app: 'productpage',
  source_version: 'version-1',
  source_workload: 'productpage-v1',
  source_principal: 'spiffe://cluster.local/ns/default/sa/bookinfo-productpage',
  source_cluster: 'client-cluster',
};
const NOBODY = {
  source_app: null,
  source_version: null,
  source_workload: null,
  source_principal: null,
  source_cluster: null,
};

test.each(OLDEST_AND_NEWEST)('a waypoint knows both sides by address, on Envoy %s', async (_, version) => {
  await using app = await App.start(undefined, RATINGS);
  await using server = await serve(0, join(ROOT, FOLDER, 'workloads.yaml'));
  const ports = { ratings: app.port, 'workload-discovery': server.port };
  const config = shipped(`${FOLDER}/waypoint.yaml`, ports, { ratings: RATINGS });
  await using envoy = await Envoy.start(config, { name: 'waypoint', version });
  await envoy.until('it knows them', async () => {
    return (await envoy.stat('wasmcustom.metadata_exchange.discovery_workloads')) === 3;
  });
  const ask = async (path: string, from: string, headers?: string[]) => {
    await send(await envoy.port('main'), { path, from, headers });
    return await logged(envoy, path);
  };

  const line = { status: 200, ...SOURCE, ...DESTINATION };
  expect(await ask('/1', PRODUCTPAGE)).toEqual({ path: '/1', ...line });

  // What somebody claims is not its business: it neither believes it, nor keeps it from those who may ask for it.
  const claim = struct.header({ NAME: 'forged', LABELS: { app: 'forged' } });
  expect(await ask('/2', PRODUCTPAGE, [METADATA, claim])).toEqual({ path: '/2', ...line });
  expect(app.last.headers.peer()).toEqual({ [METADATA]: [claim] });

  // Of this one there is a uid and a namespace, and that makes an identity.
  const identity = { source_principal: 'spiffe://cluster.local/ns/default/sa/default' };
  expect(await ask('/3', BARE)).toEqual({ path: '/3', status: 200, ...NOBODY, ...identity, ...DESTINATION });

  expect(await ask('/4', '127.0.0.1')).toEqual({ path: '/4', status: 200, ...NOBODY, ...DESTINATION });
});
