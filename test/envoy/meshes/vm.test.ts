// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy, type EnvoyOptions } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { send } from '../../../testkit/http.ts';
import { logged } from '../../support/shipped.ts';

/** Two machines without a control plane: the command writes who each of them is, and the Envoys tell each other. */

const UNIT = readFileSync(join(ROOT, 'envoy/vm/metadata-exchange-envoy.service'), 'utf8');

/** What systemd would run as the unit says, where this project is at the root: the script, with the machine's variables. */
function asUnit(name: string, variables: NodeJS.Dict<string>): EnvoyOptions {
  const script = /^ExecStart=\/opt\/metadata-exchange\/(\S+) \/usr\/local\/bin\/envoy -c /m.exec(UNIT)?.[1];
  if (!script) throw new Error('the unit does not start Envoy by a script of this project');
  const file = parseEnv(readFileSync(join(ROOT, `envoy/vm/${name}.env`), 'utf8'));
  const words = Object.entries({ ...file, ...variables }).map(([key, value]) => `${key}=${value}`);
  return { name, runner: ['env', ...words, script] };
}

describe('two machines', () => {
  test('know each other by what each says of itself', async () => {
    const orders = asUnit('orders', { POD_NAME: 'vm-orders-2', INSTANCE_IP: '10.128.0.12' });
    await using server = await Envoy.start(shipped('envoy/vm/orders.yaml'), orders);
    const shop = asUnit('shop', { POD_NAME: 'vm-shop-1', INSTANCE_IP: '10.128.0.7' });
    const config = shipped('envoy/vm/shop.yaml', { orders: await server.port('inbound') });
    await using client = await Envoy.start(config, shop);
    expect((await send(await client.port('outbound'), { path: '/orders/1' })).body).toBe('Hello from orders.\n');

    const { caller, caller_id } = await logged(server, '/orders/1');
    expect(caller_id).toBe('sidecar~10.128.0.7~vm-shop-1.default~default.svc.cluster.local');
    expect(caller.value).toMatchObject({
      NAME: 'vm-shop-1',
      NAMESPACE: 'default',
      WORKLOAD_NAME: 'shop',
      LABELS: { app: 'shop', version: 'v1', team: 'web', 'service.istio.io/canonical-name': 'shop' },
    });
    const { server: peer, server_id } = await logged(client, '/orders/1');
    expect(server_id).toBe('sidecar~10.128.0.12~vm-orders-2.default~default.svc.cluster.local');
    expect(peer.value).toMatchObject({ NAME: 'vm-orders-2', WORKLOAD_NAME: 'orders', LABELS: { app: 'orders' } });
  });

  test('say texts that Envoy’s YAML could take for something else', async () => {
    const LABELS = { answer: 'yes', switch: 'on', serial: '0042', hexadecimal: '0x1f', nothing: '~', half: '.5' };
    const variables = { ISTIO_METAJSON_LABELS: JSON.stringify(LABELS), CANONICAL_SERVICE: '', CANONICAL_REVISION: '' };
    await using server = await Envoy.start(shipped('envoy/vm/orders.yaml'), asUnit('orders', {}));
    const config = shipped('envoy/vm/shop.yaml', { orders: await server.port('inbound') });
    await using client = await Envoy.start(config, asUnit('shop', variables));
    await send(await client.port('outbound'), { path: '/orders/2' });
    expect((await logged(server, '/orders/2')).caller.value.LABELS).toEqual(LABELS);
  });
});

test('an Envoy is not started as somebody whom peers would not be told in full', async () => {
  const note = { ISTIO_METAJSON_LABELS: JSON.stringify({ note: 'a\tb' }) };
  await expect(Envoy.start(shipped('envoy/vm/orders.yaml'), asUnit('orders', note))).rejects.toThrow(
    /peers would not be told all of this metadata/,
  );
});
