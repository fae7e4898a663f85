// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { tcpExchange, tcpListener, tcpProxy } from '../../../testkit/envoy/tcp.ts';
import { preface, readPreface } from '../../../testkit/preface.ts';
import { OWN_ID, tcpBootstrap, untilMetric } from '../../support/tcp.ts';
import { echo, TcpServer, Wire } from '../../support/wire.ts';

/** Two listeners with configurations of their own in one VM, and connections of both at once. */

const CONNECTIONS = 300;
/** More than the second listener takes, and not more than the first does. */
const LARGE = preface({ metadata: { NAME: 'x'.repeat(400) }, id: 'large' });

/** What the n-th client says first: nothing, a large preface, or one with a name of its own. */
function helloOf(n: number): Buffer {
  if (n % 3 === 2) return Buffer.alloc(0);
  return n % 3 === 1
    ? LARGE
    : preface({ metadata: { NAME: `peer-${n}` }, id: `peer-${n}\0`.slice(0, n % 5 ? -1 : undefined) });
}

async function ask(port: number, n: number): Promise<Buffer> {
  using wire = await Wire.open(port);
  await wire.send(Buffer.concat([helloOf(n), Buffer.from(`question ${n}`)]));
  wire.end();
  return await wire.untilEnd();
}

test('each connection is served by the configuration that it came to, whoever is beside it', async () => {
  await using server = await TcpServer.start(echo);
  const bootstrap = tcpBootstrap(server.port, { direction: 'INBOUND' });
  const other = { node_key: 'cluster', preface: 'always', max_header_size: 300, metrics: {} };
  const filters = [tcpExchange(other), tcpProxy({ name: 'other' })];
  bootstrap.static_resources.listeners.push(
    tcpListener({ name: 'other', direction: 'INBOUND', chains: [{ filters }] }),
  );
  await using envoy = await Envoy.start(bootstrap, {});
  const ports = [await envoy.port('listener'), await envoy.port('other')];
  const answers = await Promise.all(Array.from({ length: CONNECTIONS }, (_, n) => ask(ports[n % 2], n)));
  for (const [n, answer] of answers.entries()) {
    const isOther = n % 2 === 1;
    const hello = helloOf(n);
    // The second one passes on what it refuses, and tells everybody; the first one answers.
    const passed = isOther && hello === LARGE ? LARGE : Buffer.alloc(0);
    const heard = Buffer.concat([Buffer.from('heard '), passed, Buffer.from(`question ${n}`)]);
    const isTold = isOther || hello.length > 0;
    const read = readPreface(answer);
    expect(read?.said.id, `connection ${n}`).toBe(isTold ? (isOther ? 'test-cluster' : OWN_ID) : undefined);
    expect((read?.rest ?? answer).toString('latin1'), `connection ${n}`).toBe(heard.toString('latin1'));
  }
  await untilMetric(envoy, 'connections', 0);
});
