// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Listener, metadataExchange } from '../../testkit/envoy/config.ts';
import { send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { Updatable } from '../support/lds.ts';
import { PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

/** One VM on each thread hosts them all: stock Envoy's default, and Istio's. */
const NODE = {
  id: 'the-id',
  cluster: 'the-cluster',
  metadata: { a: { NAME: 'a' }, b: { NAME: 'b' }, c: { NAME: 'c' } },
};

interface Plugin {
  key: 'a' | 'b' | 'c';
  node: 'id' | 'cluster';
}

function listener(name: string, { key, node }: Plugin): Listener {
  const headers = { metadata: `x-${key}-metadata`, id: `x-${key}-id` };
  return { name, direction: 'INBOUND', filters: [metadataExchange({ metadata_key: key, node_key: node, headers })] };
}

/** Asks a listener as a peer of one plugin configuration would; what comes back under all names there are. */
async function ask(port: number, key: string): Promise<string[][]> {
  const headers = [`x-${key}-metadata`, PEER_HEADER, `x-${key}-id`, PEER_ID];
  const answer = await send(port, { headers });
  return answer.headers.pairs.filter(([name]) => /^x-[abc]-/.test(name));
}

function answerOf({ key, node }: Plugin): string[][] {
  return [
    [`x-${key}-id`, `the-${node}`],
    [`x-${key}-metadata`, struct.header({ NAME: key })],
  ];
}

describe('several plugin configurations in one Envoy with two workers', () => {
  const A: Plugin = { key: 'a', node: 'id' };
  const B: Plugin = { key: 'b', node: 'cluster' };
  const C: Plugin = { key: 'c', node: 'id' };

  test('each stream behaves by the configuration of its own listener', async () => {
    await using mesh = await Updatable.start([listener('one', A), listener('two', B)], { node: NODE, workers: 2 });
    const [one, two] = [await mesh.envoy.port('one'), await mesh.envoy.port('two')];
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => (i % 2 ? ask(one, 'a') : ask(two, 'b'))));
    for (const [i, answer] of answers.entries()) expect(answer.sort()).toEqual(answerOf(i % 2 ? A : B));
    expect(await ask(one, 'b'), 'the other listener’s headers mean nothing here').toEqual([]);
  });

  test('an update changes what new connections get, and nothing for streams that are under way', async () => {
    const held: (() => void)[] = [];
    await using mesh = await Updatable.start([listener('one', A), listener('two', B)], {
      node: NODE,
      workers: 2,
      answer: (request) => (request.path === '/held' ? new Promise((resolve) => held.push(() => resolve({}))) : {}),
    });
    const port = await mesh.envoy.port('one');
    const headers = ['x-a-metadata', PEER_HEADER, 'x-a-id', PEER_ID];
    const old = Array.from({ length: 10 }, () => send(port, { path: '/held', headers }));
    await mesh.envoy.until('the old streams wait', () => held.length === 10);

    // Requests of peers of both configurations go on while the listener is replaced: what is answered, is answered by
    // the rules of the peer's own configuration.
    const answered = { a: 0, c: 0 };
    let stop = false;
    const load = (plugin: Plugin & { key: 'a' | 'c' }) =>
      (async () => {
        while (!stop) {
          const answer = (await ask(port, plugin.key)).sort();
          if (answer.length === 0) continue;
          expect(answer).toEqual(answerOf(plugin));
          answered[plugin.key]++;
        }
      })();
    const loads = [load({ ...A, key: 'a' }), load({ ...C, key: 'c' })];
    await sleep(100);
    expect(answered.a).toBeGreaterThan(0);
    expect(answered.c).toBe(0);

    await mesh.update([listener('one', C), listener('two', B)]);
    expect((await ask(await mesh.envoy.port('two'), 'b')).sort(), 'the other listener stays as it is').toEqual(
      answerOf(B),
    );
    for (const release of held) release();
    for (const answer of await Promise.all(old)) {
      expect(answer.status).toBe(200);
      const got = answer.headers.pairs.filter(([name]) => /^x-[abc]-/.test(name));
      expect(got.sort(), 'old streams are answered by the old configuration').toEqual(answerOf(A));
    }
    await mesh.envoy.until('the new configuration answers', () => answered.c > 10);
    stop = true;
    await Promise.all(loads);
    expect(await ask(port, 'a'), 'the old configuration is gone').toEqual([]);
  });
});
