// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Authority, type Certificate, spiffe } from '../../../testkit/envoy/certificates.ts';
import { BY_ADDRESS, CLIENT, filter, listening, SERVER } from '../../support/discovery.ts';
import { DiscoveryStand, namesOf } from '../../support/discovery_stand.ts';
import { sendHttps } from '../../support/tls.ts';

/** An address is no proof, a certificate is: `verify_peer` compares the two for peers that are known by address. */

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const VERDICT = '%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.downstream_verified:PLAIN)%';

test('who has a pod’s address, but not its certificate, is nobody', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'verified-'));
  try {
    const authority = new Authority(folder);
    const host = 'ratings.example';
    const own = authority.issue('ratings', { hosts: [host], uris: [spiffe('default', 'ratings')] });
    const context = {
      tls_certificates: [{ certificate_chain: { filename: own.chain }, private_key: { filename: own.key } }],
      validation_context: { trusted_ca: { filename: authority.root } },
    };
    const log = { verdict: VERDICT };
    await using stand = await DiscoveryStand.start({
      workers: 2,
      listeners: [
        listening('main', filter(BY_ADDRESS)),
        listening('marks', filter({ ...BY_ADDRESS, verify_peer: { mode: 'mark' } }), { log }),
        listening('enforces', filter({ ...BY_ADDRESS, verify_peer: { mode: 'enforce' } }), { log }),
      ],
      change: ({ static_resources }) => {
        for (const { name, filter_chains } of static_resources.listeners) {
          const typed_config = { '@type': TLS, common_tls_context: context };
          if (name !== 'main') filter_chains[0].transport_socket = { name: 'tls', typed_config };
        }
      },
    });
    await stand.untilKnown();

    /** Sends a request from the client's address: the verdict, and both names. */
    const ask = async (listener: string, certificate?: Certificate) => {
      const path = stand.nextPath();
      const by = { root: authority.root, host, certificate };
      await sendHttps(await stand.envoy.port(listener), by, { path, from: CLIENT.addresses[0] });
      const line = await stand.logged(path);
      return [(line as unknown as { verdict: string }).verdict, ...namesOf(line)];
    };
    const right = authority.issue('right', { uris: [spiffe('default', CLIENT.serviceAccount)] });
    const wrong = authority.issue('wrong', { uris: [spiffe('default', 'somebody-else')] });
    expect(await ask('marks', right)).toEqual(['verified', CLIENT.name, SERVER.name]);
    expect(await ask('marks', wrong)).toEqual(['mismatch', CLIENT.name, SERVER.name]);
    expect(await ask('marks')).toEqual(['unverified', CLIENT.name, SERVER.name]);
    expect(await ask('enforces', right)).toEqual(['verified', CLIENT.name, SERVER.name]);
    expect(await ask('enforces', wrong)).toEqual(['mismatch', undefined, SERVER.name]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
