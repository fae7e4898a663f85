// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, send } from '../../../testkit/http.ts';
import { serve } from '../../../tools/workload-server.ts';
import { OLDEST_AND_NEWEST } from '../../support/discovery.ts';
import { logged } from '../../support/shipped.ts';

/** envoy/workload-discovery/any-server.yaml and the server beside it, as users start them. */

const FOLDER = 'envoy/workload-discovery';
const CLIENT = '127.0.0.5';
const SERVER = '127.0.0.2';

test.each(OLDEST_AND_NEWEST)('both sides are known by a list in a file, on Envoy %s', async (_, version) => {
  const folder = mkdtempSync(join(tmpdir(), 'workloads-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'workloads.yaml');
  const text = readFileSync(join(ROOT, FOLDER, 'workloads.yaml'), 'utf8');
  writeFileSync(file, text);
  await using app = await App.start(() => ({}), SERVER);
  await using server = await serve(0, file);
  const ports = { ratings: app.port, 'workload-discovery': server.port };
  const config = shipped(`${FOLDER}/any-server.yaml`, ports, { ratings: SERVER });
  await using envoy = await Envoy.start(config, { name: 'any-server', version });
  await envoy.until('it knows them', async () => {
    return (await envoy.stat('wasmcustom.metadata_exchange.discovery_workloads')) === 2;
  });

  let count = 0;
  const ask = async () => {
    const path = `/${count++}`;
    // Where the client says that it comes from plays no part.
    await send(await envoy.port('proxy'), { path, from: CLIENT, headers: ['x-forwarded-for', SERVER] });
    return logged(envoy, path);
  };
  expect(await ask()).toMatchObject({
    status: 200,
    client: 'productpage-v1',
    server: 'ratings-v1',
    server_identity: 'spiffe://cluster.global/ns/default/sa/ratings',
  });

  const [client, { name: __, ...rest }] = parse(text);
  writeFileSync(file, stringify([{ ...rest, workloadName: 'ratings-v2' }]));
  await envoy.until('the change is known', async () => {
    const line = await ask();
    return line.server === 'ratings-v2' && line.client === null;
  });
  expect(client.addresses).toEqual([CLIENT]);
});
