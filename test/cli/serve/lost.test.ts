// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { NodeView } from '../../../cli/serve/snapshot.ts';
import { Watch } from '../../../cli/serve/watch.ts';
import { httpListener, type Listener } from '../../../testkit/envoy/config.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { App, send } from '../../../testkit/http.ts';
import { ConfigFiles } from '../../support/config_files.ts';
import { counter, counting, workload } from '../../support/traffic.ts';

/** Two real sidecars that answer, of which one stops saying who it is: both are marked, and it ends when it is over. */

/** Mostly it takes three; a busy machine may take longer. */
const SECONDS = 8;

test('a sidecar that no longer tells who it is', async () => {
  await using app = await App.start();
  using files = new ConfigFiles();
  const tell = (config: object) => {
    files.write('lds', [httpListener({ name: 'inbound', direction: 'INBOUND', filters: [counter(config)] })]);
  };
  tell({});
  const server = counting({ own: workload('reviews'), listeners: [], clusters: { app: { port: app.port } } });
  const dynamic_resources = { lds_config: files.source('lds') };
  await using reviews = await Envoy.start(
    { ...server, dynamic_resources },
    {
      name: 'reviews',
      // Connections move to the new listener at once.
      drainSeconds: 1,
      drainAtOnce: true,
    },
  );
  const outbound: Listener = { name: 'outbound', direction: 'OUTBOUND', filters: [counter()] };
  const clusters = { app: { port: await reviews.port('inbound') } };
  const client = counting({ own: workload('productpage'), listeners: [outbound], clusters });
  await using productpage = await Envoy.start(client, { name: 'productpage' });
  const port = await productpage.port('outbound');

  const watch = new Watch({ addresses: [reviews, productpage].map((each) => each.adminAddress()), seconds: 10 });
  const running = watch.run();
  const traffic = setInterval(() => void send(port).catch(() => undefined), 100);
  try {
    const stateOf = (name: string): NodeView | undefined => watch.snapshot?.nodes.find((each) => each.name === name);
    const until = async (holds: () => boolean) => {
      for (const end = Date.now() + SECONDS * 1000; !holds() && Date.now() < end; ) await sleep(50);
    };
    const exchanging = () => ['productpage-v1', 'reviews-v1'].every((each) => stateOf(each)?.state === 'exchanging');
    await until(() => exchanging() && (watch.snapshot?.edges[0]?.now.rate ?? 0) > 5);
    await sleep(3000);
    expect(exchanging()).toBe(true);

    tell({ downstream_discovery: [{ istio_headers: {} }], downstream_propagation: [] });
    await reviews.until('it is told', async () => (await reviews.stat('listener_manager.lds.update_success')) === 2);
    await until(() => stateOf('productpage-v1')?.state === 'lost');
    expect(stateOf('productpage-v1')).toMatchObject({
      state: 'lost',
      remarks: [expect.stringMatching(/^Since \d\d:\d\d:\d\d it no longer learns that its peer is reviews-v1\.$/)],
    });
    expect(stateOf('reviews-v1')).toMatchObject({
      state: 'lost',
      remarks: [expect.stringMatching(/^Since \d\d:\d\d:\d\d productpage-v1 no longer learns who it is\.$/)],
    });

    tell({});
    await until(exchanging);
    expect(exchanging()).toBe(true);
  } finally {
    clearInterval(traffic);
    watch.stop();
    await running;
  }
});
