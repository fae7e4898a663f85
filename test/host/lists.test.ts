// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/**
 * What happens to each header by each list, said as rules and tried on configurations and messages that are made up. The
 * same behaviour on real Envoys, for chosen cases: test/envoy/{answers,directions,lists,dialect}.test.ts.
 */

type Pair = [string, string];
const HEADERS = [METADATA, ID] as const;
const OWN: Record<string, string> = { [METADATA]: struct.header({ NAME: 'own' }), [ID]: 'own-id' };
const EXTERNAL = 'xds.cluster_metadata.filter_metadata.istio.external';

/** Copies of a header: absent, empty, readable or not, once or several times. */
const copiesOf = (name: string): fc.Arbitrary<Pair[]> => {
  const readable = name === ID ? ['peer', 'sidecar~10.0.0.1~a.b~c'] : [struct.header({ NAME: 'peer' })];
  const value = fc.constantFrom('', ...readable, '!', OWN[name]);
  return fc.array(value, { maxLength: 3 }).map((values) => values.map((each): Pair => [name, each]));
};
const message = fc
  .tuple(copiesOf(METADATA), copiesOf(ID), fc.constantFrom<Pair[]>([], [['x-stays', 'y']]))
  .map((parts) => parts.flat());
const propagation = fc.constantFrom('absent', 'listed', 'skipping');
const lists = fc.record({
  downstream_discovery: fc.boolean(),
  upstream_discovery: fc.boolean(),
  downstream_propagation: propagation,
  upstream_propagation: propagation,
});

/** A configuration with these lists. At least one is there, be it empty: else the direction would decide. */
function configuration(listed: typeof lists extends fc.Arbitrary<infer T> ? T : never): string {
  const method = (how: boolean | string) => [
    { istio_headers: how === 'skipping' ? { skip_external_clusters: true } : {} },
  ];
  const present = Object.entries(listed).filter(([, how]) => how !== false && how !== 'absent');
  const entries = present.map(([name, how]) => [name, method(how)] as const);
  return JSON.stringify({ downstream_discovery: [], ...Object.fromEntries(entries) });
}

const valuesOf = (headers: Pair[], name: string) => headers.filter(([each]) => each === name).map(([, value]) => value);

describe('with lists', () => {
  test('each header is told, answered and removed by its own rule, whatever else there is', () => {
    fc.assert(
      fc.property(lists, fc.boolean(), message, message, (listed, isExternal, request, response) => {
        const host = new Host({ 'xds.node': NODE, [EXTERNAL]: Buffer.from([isExternal ? 1 : 0]) });
        const root = host.configure(configuration(listed)) as number;
        const stream = host
          .stream(root)
          .onRequest(...request)
          .onResponse(...response);
        const tells = (how: string) => how === 'listed' || (how === 'skipping' && !isExternal);
        for (const name of HEADERS) {
          const sent = valuesOf(request, name);
          const isRequestTouched = listed.downstream_discovery || listed.upstream_propagation !== 'absent';
          const going = tells(listed.upstream_propagation) ? [OWN[name]] : isRequestTouched ? [] : sent;
          expect(valuesOf(stream.request, name), `${name} of the request`).toEqual(going);

          const answered = valuesOf(response, name);
          const isResponseTouched = listed.upstream_discovery || listed.downstream_propagation !== 'absent';
          const isAnswer = tells(listed.downstream_propagation) && sent.length > 0;
          const coming = isAnswer ? [OWN[name]] : isResponseTouched ? [] : answered;
          expect(valuesOf(stream.response, name), `${name} of the response`).toEqual(coming);
        }
        expect(valuesOf(stream.request, 'x-stays')).toEqual(valuesOf(request, 'x-stays'));
        expect(valuesOf(stream.response, 'x-stays')).toEqual(valuesOf(response, 'x-stays'));
      }),
      { numRuns: 1000 },
    );
  });

  test('who is known is whom the first copy names that is not empty, and nobody where no list asks', () => {
    fc.assert(
      fc.property(lists, message, message, (listed, request, response) => {
        const host = new Host({ 'xds.node': NODE });
        const stream = host.stream(host.configure(configuration(listed)) as number);
        stream.onRequest(...request).onResponse(...response);
        const sides = [
          ['downstream', listed.downstream_discovery, request],
          ['upstream', listed.upstream_discovery, response],
        ] as const;
        for (const [side, asks, headers] of sides) {
          const first = (name: string) => valuesOf(headers, name).find((value) => value !== '');
          const [metadata, id] = [first(METADATA), first(ID)];
          const key = `envoy.wasm.metadata_exchange.${side}`;
          const published = stream.filterState[key];
          const isReadable = asks && metadata !== undefined && metadata !== '!';
          expect(published?.toString('base64'), side).toBe(isReadable ? metadata : undefined);
          const wanted = asks ? id : undefined;
          expect(stream.filterState[`${key}_id`]?.toString() || undefined, `${side}_id`).toBe(wanted);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test('baggage keeps what others said, in their order, and has one workload: ours', () => {
  const ours = fc.constantFrom(
    'k8s.pod.name',
    'k8s.namespace.name',
    'service.name',
    'app.version',
    'k8s.instance.name',
  );
  const key = fc.oneof(ours, fc.stringMatching(/^[a-z]{1,5}$/));
  const member = fc.tuple(key, fc.stringMatching(/^[a-z0-9%;=]{0,8}$/)).map(([name, value]) => `${name}=${value}`);
  const config = JSON.stringify({ upstream_propagation: [{ baggage: {} }] });
  fc.assert(
    fc.property(fc.array(fc.array(member, { minLength: 1, maxLength: 4 }), { maxLength: 3 }), (copies) => {
      const host = new Host({ 'xds.node': NODE });
      const headers = copies.map((members): Pair => ['baggage', members.join(',')]);
      const { request } = host.stream(host.configure(config) as number).onRequest(...headers);
      const others = copies.flat().filter((each) => !/^(k8s\.|service\.|app\.)/.test(each));
      expect(valuesOf(request, 'baggage')).toEqual([[...others, 'k8s.instance.name=own'].join(',')]);
    }),
    { numRuns: 1000 },
  );
});
