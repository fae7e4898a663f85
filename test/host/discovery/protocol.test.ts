// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Istiod } from '../../../testkit/host/istiod.ts';
import { type ResourceFields, resource, response, WORKLOAD, workload } from '../../../testkit/xds/messages.ts';
import { Discovery, pod } from '../../support/hosted_discovery.ts';

/** What is said to the control plane: what is wanted, and of each response whether it was taken. */

describe('the stream', () => {
  test('is one, of the proxy and not of a worker, and asks for everything', () => {
    const discovery = new Discovery({ workers: 4 });
    expect(discovery.istiod.conversations).toHaveLength(1);
    const [{ stream, requests }] = discovery.istiod.conversations;
    expect(stream.host).toBe(discovery.plugin.main?.host);
    expect(stream.method).toBe('/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources');
    expect(requests[0]).toEqual({
      node: discovery.node,
      typeUrl: WORKLOAD,
      subscribe: [],
      unsubscribe: [],
      initialResourceVersions: {},
      responseNonce: '',
    });
    discovery.proxy.pass(100);
    expect(discovery.istiod.conversations).toHaveLength(1);
    const counts = ['streams', 'reconnects', 'failures', 'on_worker'].map((each) => `discovery_${each}`);
    expect(counts.map((each) => discovery.metric(each))).toEqual([1, 0, 0, 0]);
    expect(discovery.metric('discovery_connected')).toBe(1);
    expect(discovery.proxy.complaints()).toEqual([]);
  });

  test('says who asks as the proxy’s own xDS does, be the node large', () => {
    const properties = {
      'xds.node': Buffer.concat([Buffer.from('0a036f776e1280fa01', 'hex'), Buffer.alloc(32_000, 'x')]),
    };
    const { istiod } = new Discovery({ properties });
    expect(istiod.requests[0].node).toEqual(properties['xds.node']);
  });

  test('says only its id if the node is too large for a request', () => {
    const metadata = Buffer.concat([Buffer.from('1280c2d72f', 'hex'), Buffer.alloc(100_000_000, 'x')]);
    const id = { 'xds.node': Buffer.concat([Buffer.from('0a036f776e', 'hex'), metadata]) };
    const { istiod } = new Discovery({ properties: { ...id, 'xds.node.id': Buffer.from('own') } });
    expect(istiod.requests[0].node).toEqual(Buffer.from('0a036f776e', 'hex'));
  });
});

describe('a response', () => {
  test('is acknowledged by its nonce, and by nothing else', () => {
    const { istiod } = new Discovery();
    istiod.serve(pod('a', ['10.0.0.1']));
    const { nonce } = { nonce: istiod.last.responseNonce };
    expect(istiod.last).toEqual({
      typeUrl: WORKLOAD,
      subscribe: [],
      unsubscribe: [],
      initialResourceVersions: {},
      responseNonce: nonce,
    });
    expect(istiod.requests.map((each) => each.responseNonce)).toEqual(['', 'nonce-1', 'nonce-2']);
  });

  test('without anything in it, too', () => {
    const { istiod } = new Discovery();
    istiod.push({});
    expect(istiod.last).toMatchObject({ responseNonce: 'nonce-2' });
    expect(istiod.last).not.toHaveProperty('errorDetail');
  });

  test('that removes what nobody knows, too', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    discovery.istiod.remove('unknown', '', 'x'.repeat(10_000));
    expect(discovery.istiod.last).not.toHaveProperty('errorDetail');
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    expect(discovery.settle().metric('discovery_removals')).toBe(0);
  });

  test('removes', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1', '10.0.0.2']), pod('b', ['10.0.0.3']));
    expect(discovery.settle().metric('discovery_workloads')).toBe(2);
    discovery.istiod.remove('Kubernetes//Pod/default/a');
    expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.3')).toEqual([undefined, undefined, 'b']);
    discovery.settle();
    expect(
      ['workloads', 'addresses', 'updates', 'removals'].map((each) => discovery.metric(`discovery_${each}`)),
    ).toEqual([1, 1, 2, 1]);
  });

  test('says how old what we know is', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    discovery.proxy.pass(100);
    expect(discovery.metric('discovery_age')).toBeGreaterThanOrEqual(99);
    expect(discovery.metric('discovery_age')).toBeLessThanOrEqual(101);
    discovery.istiod.push({});
    discovery.proxy.pass(3);
    expect(discovery.metric('discovery_age')).toBeLessThanOrEqual(4);
  });
});

describe('what cannot be taken is refused by itself, named to the control plane, and counted', () => {
  const good = (name: string, address: string) => resource(pod(name, [address]));
  const withBody = (body: Uint8Array): ResourceFields => ({ name: 'bad', version: '1', body });
  const fields = (more: object) => withBody(workload({ uid: 'bad', addresses: ['10.0.0.9'], ...more }));
  const sound = workload({ uid: 'bad', name: 'bad', addresses: ['10.0.0.9'] });
  const hex = (digits: string) => withBody(Buffer.concat([sound, Buffer.from(digits, 'hex')]));

  test.each<[string, ResourceFields]>([
    ['no name', { name: '', version: '1', body: sound }],
    ['no body', { name: 'bad', version: '1' }],
    ['another type', { name: 'bad', version: '1', body: sound, typeUrl: 'type.googleapis.com/istio.workload.Address' }],
    ['no type', { name: 'bad', version: '1', body: sound, typeUrl: '' }],
    ['a Workload that is cut off', withBody(sound.subarray(0, -1))],
    ['a length beyond its end', hex('0a7f')],
    ['a length of 4 GiB', hex('0affffffff0f')],
    ['a length of ten bytes', hex('0affffffffffffffffff01')],
    ['field 0', hex('0000')],
    ['a wire type that there is not', hex('0f00')],
    ['a group that does not end', hex('0b')],
    ['a group that did not begin', hex('0c')],
    ['groups in groups without end', hex('0b'.repeat(5000))],
    ['a locality that is cut off', hex('c2010205')],
    ['an address of no bytes', fields({ addresses: [Buffer.alloc(0)] })],
    ['an address of three bytes', fields({ addresses: [Buffer.alloc(3)] })],
    ['an address of 17 bytes', fields({ addresses: ['10.0.0.9', Buffer.alloc(17)] })],
    ['17 addresses', fields({ addresses: Array.from({ length: 17 }, (_, i) => `10.0.0.${i}`) })],
    ['a name of 254 bytes', fields({ name: 'x'.repeat(254) })],
    ['a namespace that is no UTF-8', hex('1202c328')],
    ['a control character in a text', fields({ canonicalName: 'a\nb' })],
    ['a NUL in a text', fields({ workloadName: 'a\0b' })],
    ['a control character in its zone', fields({ locality: { zone: '\x7f' } })],
    ['a uid of 1,025 bytes', { name: 'u'.repeat(1025), version: '1', body: sound }],
    ['a version of 254 bytes', { ...withBody(sound), version: 'v'.repeat(254) }],
    ['a version with a control character', { ...withBody(sound), version: 'v\n' }],
    ['a uid that is no text', { name: 'a\nb', version: '1', body: sound }],
  ])('%s', (_, bad) => {
    const discovery = new Discovery();
    discovery.istiod.push({ resources: [good('before', '10.0.0.1'), bad, good('after', '10.0.0.2')] });
    expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.9')).toEqual(['before', 'after', undefined]);
    const { responseNonce, errorDetail } = discovery.istiod.last;
    expect(responseNonce).toBe('nonce-2');
    expect(errorDetail?.code).toBe(3);
    expect(errorDetail?.message.length).toBeLessThan(1000);
    if (bad.name === 'bad') expect(errorDetail?.message).toContain('bad');
    expect(discovery.settle().metric('discovery_refused')).toBe(1);
    expect(discovery.metric('discovery_updates')).toBe(2);
    discovery.istiod.push({ resources: [good('later', '10.0.0.3')] });
    expect(discovery.istiod.last, 'the next response is judged by itself').not.toHaveProperty('errorDetail');
    expect(discovery.names('10.0.0.3')).toEqual(['later']);
  });

  test('an update that is refused leaves what was known', () => {
    const discovery = new Discovery();
    const { uid } = pod('a', []);
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    discovery.istiod.push({ resources: [{ name: uid, version: '2', body: sound.subarray(0, -1) }] });
    expect(discovery.istiod.last.errorDetail?.message).toContain(uid);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test('of many the first is named', () => {
    const { istiod } = new Discovery();
    istiod.push({ resources: [1, 2, 3].map((i) => ({ name: `bad-${i}`, version: '1' })) });
    expect(istiod.last.errorDetail?.message).toContain('bad-1');
  });

  test('fields that nobody knows are skipped, groups too', () => {
    const discovery = new Discovery();
    const unknown = Buffer.from('f3070a0178f407f2070301020380083981080102030405060708', 'hex');
    const body = Buffer.concat([unknown, workload(pod('a', ['10.0.0.1'])), unknown]);
    discovery.istiod.push({ resources: [{ name: 'a', version: '1', body }] });
    expect(discovery.istiod.last).not.toHaveProperty('errorDetail');
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test('and so are those of a response, whatever their values: -1 is ten bytes', () => {
    const discovery = new Discovery();
    const unknown = Buffer.from('78ffffffffffffffffff017800690102030405060708fd0601020304', 'hex');
    const message = response({ resources: [good('a', '10.0.0.1')], nonce: 'n' });
    discovery.istiod.pushBytes(Buffer.concat([unknown, message, unknown]));
    expect(discovery.istiod.last).toMatchObject({ responseNonce: 'n' });
    expect(discovery.istiod.last).not.toHaveProperty('errorDetail');
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test.each([
    ['bytes that are no response', Buffer.from('ffffffffffffffffffffffff', 'hex')],
    ['nothing', Buffer.alloc(0)],
    ['one that is cut off', response({ resources: [good('a', '10.0.0.1')] }).subarray(0, -3)],
    ['a length of 4 GiB', Buffer.from('12ffffffff0f00', 'hex')],
    ['a nonce of a megabyte', response({ nonce: 'n'.repeat(1_000_000) })],
    ['a nonce that cannot be said again', Buffer.from('2a02c328', 'hex')],
  ])('%s: the stream goes on', (_, bytes) => {
    const discovery = new Discovery();
    discovery.istiod.pushBytes(bytes);
    discovery.istiod.serve(pod('b', ['10.0.0.2']));
    expect(discovery.names('10.0.0.2')).toEqual(['b']);
  });
});

test('a message of a stream that is not ours is nobody’s', () => {
  const discovery = new Discovery();
  const { host, root } = discovery.plugin.main ?? discovery.worker;
  const message = response({ resources: [resource(pod('forged', ['10.0.0.1']))], nonce: 'x' });
  host.grpcReceive(root, 12345, message);
  host.grpcClose(root, 12345, 13, 'not ours');
  expect(discovery.names('10.0.0.1')).toEqual([undefined]);
  expect(discovery.istiod.open).toHaveLength(1);
});

test('a control plane that says nothing is waited for', () => {
  const istiod = new Istiod();
  istiod.answers = false;
  const discovery = new Discovery({ istiod });
  discovery.proxy.pass(60);
  expect(istiod.conversations).toHaveLength(1);
  expect(discovery.names('10.0.0.1')).toEqual([undefined]);
});
