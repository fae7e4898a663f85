// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Host, Stream } from '../../testkit/host/host.ts';
import type { HeaderPair } from '../../testkit/host/stream.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { HEADERS, INBOUND, MIDDLE, OUTBOUND, proxy } from '../support/module_stand.ts';

/** What the application behind a proxy is told of its client, and that nobody else can tell it that. */

const TOLD = 'x-client-workload';
const FORGED: HeaderPair[] = [
  [TOLD, 'WORKLOAD_NAME=admin'],
  ['x-other', 'stays'],
  [TOLD, ''],
  [TOLD, 'WORKLOAD_NAME=root'],
];
const OTHER: HeaderPair = ['x-other', 'stays'];
const CLIENT = { WORKLOAD_NAME: 'productpage-v1', NAMESPACE: 'default', LABELS: { app: 'productpage' } };

const claim = (fields: object): HeaderPair => [METADATA, struct.header(fields)];
const configure = (host: Host, config: object, more = {}) =>
  host.configure(JSON.stringify({ tell_application: config, ...more })) as number;

/** All that an inbound proxy's application gets from a client that forges the header. */
function request(config: object, sent: HeaderPair[], more = {}): HeaderPair[] {
  const host = proxy(INBOUND);
  return host.stream(configure(host, config, more)).onRequest(...FORGED, ...sent).request;
}

const told = (config: object, fields: object, more = {}) =>
  request(config, [claim(fields)], more)
    .filter(([name]) => name !== OTHER[0])
    .map(([name, value]) => `${name}: ${value}`)
    .join();

describe('which client it is', () => {
  test('by default, its workload and namespace', () => {
    expect(request({}, [claim(CLIENT), [ID, 'id']])).toEqual([
      OTHER,
      [TOLD, 'WORKLOAD_NAME=productpage-v1&NAMESPACE=default'],
    ]);
  });

  test('in the header and by the fields that are chosen, in their order, those that it has', () => {
    const config = { header: 'X-Caller', fields: ['LABELS.app', 'NAME', 'WORKLOAD_NAME'] };
    const sent: HeaderPair[] = [['x-caller', 'root'], claim(CLIENT)];
    expect(request(config, sent).filter(([name]) => name === 'x-caller')).toEqual([
      ['x-caller', 'LABELS.app=productpage&WORKLOAD_NAME=productpage-v1'],
    ]);
  });

  test('with Istio’s dialect the label that Kubernetes recommends is the app', () => {
    const fields = { LABELS: { app: 'old', 'app.kubernetes.io/name': 'new' } };
    const sent: HeaderPair[] = [['x-envoy-peer-metadata', struct.header(fields)]];
    const lines = request({ fields: ['LABELS.app'] }, sent, { dialect: 'istio' });
    expect(lines).toContainEqual([TOLD, 'LABELS.app=new']);
  });

  test('in the middle of two proxies, and by baggage', () => {
    const host = proxy(MIDDLE);
    const root = configure(host, {}, { downstream_discovery: [{ baggage: {} }] });
    const sent: HeaderPair = ['baggage', 'k8s.deployment.name=reviews,k8s.namespace.name=default'];
    expect(host.stream(root).onRequest(...FORGED, sent).request).toContainEqual([
      TOLD,
      'WORKLOAD_NAME=reviews&NAMESPACE=default',
    ]);
  });
});

describe('the client’s own copies are gone', () => {
  test.each<[string, HeaderPair[]]>([
    ['of whom nothing is known', []],
    ['of whom nothing can be read', [[METADATA, '!']]],
    ['that sends an id alone', [[ID, 'id']]],
    ['that has none of the fields', [claim({ NAME: 'x' })]],
    ['whose fields are no strings', [claim({ WORKLOAD_NAME: 5, NAMESPACE: { a: 'b' } })]],
    ['whose fields are empty', [claim({ WORKLOAD_NAME: '', NAMESPACE: null })]],
    ['that has more headers than are fetched at once', Array.from({ length: 40 }, (_, i) => [`x-${i}`, ''])],
  ])('of one %s', (_, sent) => {
    const left = request({}, sent).filter(([name]) => !/^x-\d+$/.test(name));
    expect(left).toEqual([OTHER]);
  });

  test('where no field is to be told', () => {
    expect(request({ fields: [] }, [claim(CLIENT)])).toEqual([OTHER]);
  });

  test('on the way out, where nobody asks who the client is', () => {
    const host = proxy(OUTBOUND);
    const { request } = host.stream(configure(host, {})).onRequest(...FORGED, claim(CLIENT));
    expect(request.map(([name]) => name)).toEqual([OTHER[0], METADATA, ID]);
    const edge = { upstream_discovery: HEADERS, upstream_propagation: HEADERS };
    const lists = host.stream(configure(host, {}, edge)).onRequest(...FORGED);
    expect(lists.request.map(([name]) => name)).toEqual([OTHER[0], METADATA, ID]);
  });

  test('where a stream has no record, as long as any configuration has the header', () => {
    const host = proxy(INBOUND);
    const roots = ['x-a', 'x-b', 'x-a'].map((header) => configure(host, { header }));
    const sent = (): HeaderPair[] => [['x-a', '1'], OTHER, ['x-b', '2']];
    const left = () =>
      host
        .stream(999)
        .onRequest(...sent())
        .request.map(([name]) => name);
    expect(left()).toEqual([OTHER[0]]);
    host.end(roots[0]);
    expect(left()).toEqual([OTHER[0]]);
    host.end(roots[2]);
    expect(left()).toEqual(['x-a', OTHER[0]]);
    host.end(roots[1]);
    expect(left()).toEqual(['x-a', OTHER[0], 'x-b']);
  });

  test('and of a response nothing is', () => {
    const host = proxy(INBOUND);
    const stream = host.stream(configure(host, {})).onRequest().onResponse([TOLD, 'of the application']);
    expect(stream.response).toEqual([[TOLD, 'of the application']]);
    expect(host.stream(999).onRequest().onResponse([TOLD, 'x']).response).toEqual([[TOLD, 'x']]);
  });
});

describe('whatever a peer says of itself, the header is one line of ASCII that is read back as it was', () => {
  const decoded = (line: string) => Object.fromEntries(new URLSearchParams(line.replace(`${TOLD}: `, '')));
  test.each([
    'a&NAMESPACE=kube-system',
    'a=b',
    'a,b; c "d" \\e\\',
    'a+b%2Cc%',
    'größe \u{1f600} \u202e',
    'http://[::1]:80/?x#y',
    '  ',
    '<script>',
    '`$x`',
    '~._-/:',
  ])('%j', (name) => {
    const line = told({}, { WORKLOAD_NAME: name, NAMESPACE: 'default' });
    expect(line).toMatch(/^x-client-workload: WORKLOAD_NAME=[A-Za-z0-9._~/:%-]+&NAMESPACE=default$/);
    expect(decoded(line)).toEqual({ WORKLOAD_NAME: name, NAMESPACE: 'default' });
  });

  test.each(['a\r\nx-admin: 1', 'a\0b', '\x7f', '\x01'])('%j, which makes a peer unreadable', (name) => {
    expect(told({}, { WORKLOAD_NAME: name, NAMESPACE: 'default' })).toBe('');
  });

  test('paths of the operator too', () => {
    const line = told({ fields: ['a=b&c', 'LABELS.%'] }, { 'a=b&c': '1', LABELS: { '%': '2' } });
    expect(line).toBe(`${TOLD}: a%3Db%26c=1&LABELS.%25=2`);
    expect(decoded(line)).toEqual({ 'a=b&c': '1', 'LABELS.%': '2' });
  });

  test('a value of more than 512 bytes is left out, and never cut off', () => {
    for (const [name, isTold] of [
      ['x'.repeat(512), true],
      ['x'.repeat(513), false],
      [' '.repeat(170), true],
      [' '.repeat(171), false],
      ['x'.repeat(6000), false],
    ] as const) {
      const line = told({}, { WORKLOAD_NAME: name, NAMESPACE: 'default' });
      expect(decoded(line)).toEqual({ ...(isTold && { WORKLOAD_NAME: name }), NAMESPACE: 'default' });
    }
  });

  test('16 of the longest paths with the longest values', () => {
    const fields = Array.from({ length: 16 }, (_, i) => `%${String.fromCharCode(97 + i)}`.padEnd(80, '%'));
    const values = Object.fromEntries(fields.map((path) => [path, 'x'.repeat(512)]));
    expect(decoded(told({ fields }, values, { max_header_size: 65536 }))).toEqual(values);
  });
});

describe('only of clients whose claims are proven', () => {
  const URI = 'spiffe://cluster.local/ns/default/sa/productpage';
  const proxyWith = (certificate?: string) => {
    const host = proxy(INBOUND);
    host.properties['connection.uri_san_local_certificate'] = Buffer.from('spiffe://cluster.local/ns/x/sa/x');
    if (certificate) host.properties['connection.uri_san_peer_certificate'] = Buffer.from(certificate);
    return host;
  };
  const LINE = 'WORKLOAD_NAME=productpage-v1&NAMESPACE=default';
  const value = ({ request }: Stream) => request.find(([name]) => name === TOLD)?.[1];
  const [verified, unverified, mismatch] = [URI, undefined, 'spiffe://cluster.local/ns/payments/sa/productpage'];

  test.each<[string, boolean | undefined, string | undefined, string | undefined]>([
    ['mark', undefined, verified, LINE],
    ['mark', undefined, unverified, undefined],
    ['mark', undefined, mismatch, undefined],
    ['mark', true, unverified, undefined],
    ['mark', false, unverified, LINE],
    ['mark', false, mismatch, LINE],
    ['enforce', true, verified, LINE],
    ['enforce', false, unverified, LINE],
    ['enforce', false, mismatch, undefined],
    ['require', undefined, verified, LINE],
    ['require', false, unverified, undefined],
    ['off', undefined, unverified, LINE],
  ])('%s, only_verified %s, certificate %s', (mode, only_verified, certificate, line) => {
    const host = proxyWith(certificate);
    const root = configure(host, { only_verified }, { verify_peer: { mode } });
    let stream = host.stream(root).onRequest(...FORGED, claim(CLIENT), [ID, 'id']);
    expect(value(stream)).toBe(line);
    for (let run = 0; run < 2; run++) {
      stream = stream.redirect(root);
      expect(value(stream), 'and after a redirect').toBe(line);
    }
  });

  test('a second filter believes the verdict of the first one, and nothing that has none', () => {
    const host = proxyWith(verified);
    const [unmarked, marked, telling] = [
      host.configure('{}') as number,
      host.configure('{"verify_peer": {"mode": "mark"}}') as number,
      configure(host, {}, { verify_peer: { mode: 'mark' } }),
    ];
    const through = (first: number) =>
      value(
        host
          .stream(first)
          .onRequest(...FORGED, claim(CLIENT), [ID, 'id'])
          .redirect(telling),
      );
    expect(through(marked)).toBe(LINE);
    expect(through(unmarked)).toBeUndefined();
  });
});

describe('a request that runs through the chain again', () => {
  const LINE: HeaderPair = [TOLD, 'WORKLOAD_NAME=productpage-v1&NAMESPACE=default'];
  test.each<[string, HeaderPair[], boolean]>([
    ['that says all', [claim(CLIENT), [ID, 'id']], true],
    ['that says no id', [claim(CLIENT)], true],
    ['that says nothing', [], false],
    ['that says an id alone', [[ID, 'id']], false],
  ])('tells the same of a client %s', (_, sent, isTold) => {
    for (const direction of [INBOUND, MIDDLE]) {
      const host = proxy(direction);
      const root = configure(host, {});
      let stream = host.stream(root).onRequest(...FORGED, ...sent);
      for (let run = 0; run < 3; run++) {
        expect(stream.request.filter(([name]) => name === TOLD)).toEqual(isTold ? [LINE] : []);
        stream = stream.onResponse().redirect();
      }
      stream = stream.redirect(root, [TOLD, 'put there on the way']);
      expect(stream.request.filter(([name]) => name === TOLD)).toEqual(isTold ? [LINE] : []);
    }
  });

  test.each([
    ['the client', '{}', 1],
    ['the client and the verdict', '{"verify_peer": {"mode": "mark"}}', 2],
  ])('asks filter state for no more than %s', (_, more, asked) => {
    const host = proxy(INBOUND);
    const root = configure(host, {}, JSON.parse(more));
    const first = host.stream(root).onRequest(claim(CLIENT), [ID, 'id']);
    const plain = host.configure(more) as number;
    const calls = (run: () => void) => {
      host.calls.length = 0;
      run();
      return host.calls.filter((name) => name === 'proxy_get_property').length;
    };
    const without = calls(() => first.redirect(plain));
    expect(calls(() => first.redirect(root)) - without).toBe(asked);
  });

  test('a filter that tells stands behind one that knows the client by other headers', () => {
    const host = proxy(INBOUND);
    const first = host.configure('{"headers": {"metadata": "x-a", "id": "x-b"}}') as number;
    const second = configure(host, {});
    const stream = host.stream(first).onRequest(...FORGED, ['x-a', struct.header(CLIENT)]);
    expect(stream.redirect(second).request).toContainEqual(LINE);
  });

  test('nobody is told of the client of the stream before', () => {
    const host = proxy(INBOUND);
    const root = configure(host, {});
    const first = host.stream(root).onRequest([ID, 'id']);
    host.stream(root).onRequest(claim(CLIENT), [ID, 'id']);
    expect(first.redirect().request).toEqual([]);
  });
});

test('without the option the header is as any other', () => {
  const host = proxy(INBOUND);
  const root = host.configure() as number;
  expect(host.stream(root).onRequest(...FORGED, claim(CLIENT)).request).toEqual(FORGED);
});
