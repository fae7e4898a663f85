// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Listener, metadataExchange } from '../../testkit/envoy/config.ts';
import { type Answer, send } from '../../testkit/http.ts';
import { memoryOf } from '../../testkit/process_memory.ts';
import { struct } from '../../testkit/struct.ts';
import { Updatable } from '../support/lds.ts';
import { PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

const UPDATES = 200;
const WORKERS = 2;

/** Each configuration that stayed behind would hold at least the proxy's own header: large, so that it shows. */
const KEYS = 7;
const metadataOf = (key: number) => ({ NAME: `name-${key}`, PADDING: String(key).repeat(5500) });
const NODE = {
  id: 'the-id',
  metadata: Object.fromEntries(Array.from({ length: KEYS }, (_, key) => [`key-${key}`, metadataOf(key)])),
};
const HEADERS = Array.from({ length: KEYS }, (_, key) => struct.header(metadataOf(key)));

/**
 * What half of the updates may add. Seen: 0.3 MB; 2.7 MB from a module that keeps its old configurations; a page of
 * 64 KiB left behind in each VM by each update would be 20 MB.
 */
const MOST_GROWTH = 1.5 * 2 ** 20;

/**
 * The configuration of one generation: no two have the same header names, and not even their length is the same. Every
 * second update changes the filter chain alone, which Envoy replaces inside of the listener; the others, all of it.
 */
function generation(n: number): Listener {
  const suffix = `${n}${'-x'.repeat(n % 50)}`;
  const headers = { metadata: `x-metadata-${suffix}`, id: `x-id-${suffix}` };
  return {
    name: 'listener',
    direction: n % 4 < 2 ? 'INBOUND' : undefined,
    filters: [metadataExchange({ headers, max_header_size: 8192, metadata_key: `key-${n % KEYS}` })],
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
    manager: { access_log: [] },
  };
}

/** The generations that may still answer, from a worker that is late. */
const before = (n: number) => [n - 3, n - 2, n - 1].filter((each) => each >= 0);

/** Asks as a peer of this generation, the next one and those just before; what they are answered. */
async function ask(port: number, n: number): Promise<{ answer: Answer; answered: [string, string][] }> {
  const asked = [...before(n), n, n + 1];
  const headers = asked.flatMap((each) => {
    const suffix = `${each}${'-x'.repeat(each % 50)}`;
    return [`x-metadata-${suffix}`, PEER_HEADER, `x-id-${suffix}`, PEER_ID];
  });
  const answer = await send(port, { headers });
  return { answer, answered: answer.headers.pairs.filter(([name]) => /^x-(metadata|id)-/.test(name)).sort() };
}

/** What a peer of one generation is answered by the proxy of that generation. */
function answerOf(n: number): [string, string][] {
  const suffix = `${n}${'-x'.repeat(n % 50)}`;
  return [
    [`x-id-${suffix}`, NODE.id],
    [`x-metadata-${suffix}`, HEADERS[n % KEYS]],
  ];
}

describe('an Envoy that is given configuration after configuration', () => {
  test(`answers by the newest, and after ${UPDATES} of them needs no more memory than after half`, {
    timeout: 180_000,
  }, async () => {
    await using mesh = await Updatable.start([generation(0)], { node: NODE, workers: WORKERS, drainSeconds: 1 });
    const { envoy } = mesh;
    const vms = await envoy.stat('wasm.envoy.wasm.runtime.v8.active');
    const port = await envoy.port('listener');
    const memory: number[] = [];
    let requests = 0;
    for (let n = 1; n <= UPDATES; n++) {
      await mesh.update([generation(n)]);
      // Workers take the new listener one after the other: until then one before it answers.
      let answeredByNew = 0;
      await envoy.until(`generation ${n} answers`, async () => {
        const { answer, answered } = await ask(port, n);
        requests++;
        expect(answer.status).toBe(200);
        expect([...before(n), n].map(answerOf)).toContainEqual(answered);
        if (answered[0][0] === answerOf(n)[0][0]) answeredByNew++;
        return answeredByNew === 3;
      });
      if (n % (UPDATES / 4) !== 0) continue;
      await envoy.until('the old listeners are gone', async () => {
        const draining = ['listeners', 'filter_chains'].map((of) =>
          envoy.stat(`listener_manager.total_${of}_draining`),
        );
        return (await Promise.all(draining)).every((each) => each === 0);
      });
      memory.push(memoryOf(envoy.pid).anonymous);
    }
    const grown = memory[3] - memory[1];
    expect(grown, `memory after each quarter: ${memory}`).toBeLessThan(MOST_GROWTH);
    expect(await envoy.stat('wasm.envoy.wasm.runtime.v8.active')).toBe(vms);
    expect(await envoy.stat('listener_manager.lds.update_rejected')).toBe(0);
    expect(await envoy.stat('http.listener.downstream_rq_2xx')).toBe(requests);
  });
});
