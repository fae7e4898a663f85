// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { connections } from '../../../testkit/connection_log.ts';
import { tcpExchange } from '../../../testkit/envoy/tcp.ts';
import { preface, readPreface, type Said } from '../../../testkit/preface.ts';
import { OWN_ID, untilMetric } from '../../support/tcp.ts';
import { type How, UpdatableTcp } from '../../support/updatable_tcp.ts';
import { echo, Wire } from '../../support/wire.ts';

/** New configurations while connections live, by listener and by filter: old ones end as they began. */

/** The node says this under one of several keys: each configuration takes another one. */
const GENERATIONS = 6;
const says = (n: number) => ({ NAME: `own-${n}` });
const metadata = Object.fromEntries(Array.from({ length: GENERATIONS + 1 }, (_, n) => [`key-${n}`, says(n)]));
const generation = (n: number) => tcpExchange({ metadata_key: `key-${n}` });

/** What a proxy says to this client, and what the server's answer is. */
async function greet(wire: Wire, name: string): Promise<Said | undefined> {
  await wire.send(Buffer.concat([preface({ metadata: { NAME: name } }), Buffer.from(name)]));
  return readPreface(await wire.untilIt((text) => text.endsWith(`heard ${name}`)))?.said;
}

describe.each<How>(['lds', 'ecds'])('a configuration that comes by %s', (how) => {
  const start = (workers: number) => {
    const bootstrap = { node: { id: OWN_ID, cluster: 'test-cluster', metadata } };
    return UpdatableTcp.start(how, generation(0), { direction: 'INBOUND', bootstrap, workers }, echo);
  };

  test('serves new connections, and old ones go on: also one that has not said who it is', async () => {
    await using stand = await start(2);
    const wires: Wire[] = [];
    for (let n = 0; n < GENERATIONS; n++) {
      // One that talks, one that is silent, and one that has sent half of its preface.
      const [talking, silent, half] = await Promise.all([0, 1, 2].map(() => Wire.open(stand.port)));
      await half.send(preface({ metadata: { NAME: `half-${n}` } }).subarray(0, 10));
      let said: Said | undefined = await greet(talking, `talking-${n}`);
      wires.push(talking);
      // A worker may be late.
      for (let tries = 0; said?.metadata && JSON.stringify(said.metadata) !== JSON.stringify(says(n)); tries++) {
        if (tries > 200) throw new Error(`generation ${n} does not answer, but ${JSON.stringify(said)}`);
        const next = await Wire.open(stand.port);
        said = await greet(next, `again-${n}-${tries}`);
        next[Symbol.dispose]();
      }
      expect(said).toEqual({ metadata: says(n), id: OWN_ID });
      await stand.update(generation(n + 1));
      await half.send(Buffer.concat([preface({ metadata: { NAME: `half-${n}` } }).subarray(10), Buffer.from('!')]));
      await half.untilIt((text) => text.endsWith('heard !'));
      expect((await greet(silent, `silent-${n}`))?.id).toBe(OWN_ID);
      wires.push(silent, half);
    }
    for (const wire of wires) {
      await wire.send('still here');
      await wire.untilIt((text) => text.endsWith('heard still here'));
      wire.end();
      await wire.untilEnd();
    }
    const names = () =>
      connections(stand.envoy).map(({ downstream }) => (downstream.struct as { NAME?: string })?.NAME);
    await stand.envoy.until(
      'all are logged',
      () => names().filter((name) => !name?.startsWith('again')).length >= wires.length,
    );
    const expected = Array.from({ length: GENERATIONS }, (_, n) => [`talking-${n}`, `silent-${n}`, `half-${n}`]).flat();
    expect(
      names()
        .filter((name) => !name?.startsWith('again'))
        .sort(),
    ).toEqual(expected.sort());
    await untilMetric(stand.envoy, 'connections', 0);
  });

  test('a preface that stops is given up in time, also where its configuration was replaced meanwhile', async () => {
    await using stand = await start(1);
    const half = preface({ metadata: { NAME: 'half' } }).subarray(0, 20);
    using wire = await Wire.open(stand.port);
    await wire.send(half);
    const server = await stand.server.wire();
    await stand.update(generation(1));
    expect(await server.until(half)).toEqual(half);
    await untilMetric(stand.envoy, 'preface_stalled', 1);
  });

  test('a connection that Envoy ends with its old listener is counted out', async () => {
    const bootstrap = { node: { id: OWN_ID, cluster: 'test-cluster', metadata } };
    const drain = { drainSeconds: 1, drainAtOnce: true, workers: 2 };
    await using stand = await UpdatableTcp.start(
      how,
      generation(0),
      { direction: 'INBOUND', bootstrap, ...drain },
      echo,
    );
    const [wire, half] = [await Wire.open(stand.port), await Wire.open(stand.port)];
    await greet(wire, 'old');
    await half.send(preface({ metadata: { NAME: 'half' } }).subarray(0, 20));
    await untilMetric(stand.envoy, 'connections', 2);
    await stand.update(generation(1));
    if (how === 'lds') await Promise.all([wire.untilEnd(), half.untilEnd()]);
    for (const each of [wire, half]) each[Symbol.dispose]();
    await untilMetric(stand.envoy, 'connections', 0);
    using next = await Wire.open(stand.port);
    expect((await greet(next, 'new'))?.metadata).toEqual(says(1));
  });
});
