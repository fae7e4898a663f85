// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Listener, metadataExchange } from '../../testkit/envoy/config.ts';
import type { Envoy } from '../../testkit/envoy/process.ts';
import { ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { Updatable } from '../support/lds.ts';
import { OWN_HEADER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];

/** Waits until one of our metrics is what it should be: they are written once a second. */
async function untilMetric(envoy: Envoy, name: string, value: number): Promise<void> {
  await envoy.until(`${name} is ${value}`, async () => (await metric(envoy, name)) === value);
}

function metric(envoy: Envoy, name: string): Promise<number> {
  return envoy.stat(`wasmcustom.metadata_exchange.${name}`);
}

describe('metrics', () => {
  test('count what happened to headers, each by its cause', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND', config: { max_header_size: 1000 }, workers: 2 });
    const hear = (header: string, id = PEER_ID) => stand.exchange({ headers: [METADATA, header, ID, id] });
    const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
    for (let i = 0; i < 20; i++) await hear(PEER_HEADER);
    await hear('!!!!');
    await hear(base64('0aff'));
    await hear(base64('0a070a01ff12021a00'));
    await hear(base64('0a050a01611200'));
    await hear(Buffer.alloc(700, '320a', 'hex').toString('base64'));
    await hear(struct.header({ blob: 'x'.repeat(2000) }));
    await hear('', 'caf\xe9');
    await stand.exchange();
    const { envoy } = stand;
    await untilMetric(envoy, 'peers_received', 20);
    await untilMetric(envoy, 'headers_sent', 54);
    await untilMetric(envoy, 'refused_base64', 1);
    await untilMetric(envoy, 'refused_utf8', 1);
    await untilMetric(envoy, 'refused_no_json_form', 1);
    await untilMetric(envoy, 'refused_id', 1);
    await untilMetric(envoy, 'oversize', 1);
    expect((await metric(envoy, 'refused_protobuf')) + (await metric(envoy, 'refused_nesting'))).toBe(2);
    // Each worker has a cache of its own, which saw the peer for the first time once.
    const misses = await metric(envoy, 'cache_misses');
    expect((await metric(envoy, 'cache_hits')) + misses).toBe(25);
    expect(await metric(envoy, 'cache_entries')).toBeLessThanOrEqual(2);
    expect(await metric(envoy, 'cache_bytes')).toBe(256 * (await metric(envoy, 'cache_entries')));
  });

  test('are sums over all VMs: one on each worker and one on the main thread', async () => {
    await using stand = await ProxyStand.start({ workers: 2 });
    await untilMetric(stand.envoy, 'configurations', 3);
    await untilMetric(stand.envoy, 'own_header_bytes', 3 * OWN_HEADER.length);
  });

  test('of a configuration that went are gone with it', async () => {
    const listener = (name: string, size: number): Listener => {
      return { name, direction: 'INBOUND', filters: [metadataExchange({ max_peer_cache_size: size })] };
    };
    await using mesh = await Updatable.start([listener('one', 1), listener('two', 2)], { drainSeconds: 1 });
    await send(await mesh.envoy.port('one'), { headers: FROM_PEER });
    await untilMetric(mesh.envoy, 'configurations', 4);
    await untilMetric(mesh.envoy, 'peers_received', 1);
    await mesh.update([listener('two', 2)]);
    await untilMetric(mesh.envoy, 'configurations', 2);
    expect(await metric(mesh.envoy, 'peers_received'), 'what was counted stays').toBe(1);
  });

  test('are there for Prometheus under names of their own', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    await stand.exchange({ headers: FROM_PEER });
    await untilMetric(stand.envoy, 'peers_received', 1);
    const page = await stand.envoy.admin('/stats/prometheus');
    const ours = page.split('\n').filter((line) => line.includes('metadata_exchange_'));
    expect(ours).toContain('# TYPE metadata_exchange_peers_received counter');
    expect(ours).toContain('metadata_exchange_peers_received{} 1');
    expect(ours).toContain('# TYPE metadata_exchange_cache_entries gauge');
  });
});
