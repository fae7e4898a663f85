// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { workload } from '../../../testkit/xds/messages.ts';
import { Discovery, exchange, learned, pod } from '../../support/hosted_discovery.ts';

/** Who has an address: always the workload that the control plane named last. */

function mesh(...workloads: ReturnType<typeof pod>[]): Discovery {
  const discovery = new Discovery();
  discovery.istiod.serve(...workloads);
  return discovery;
}

test('a workload is known by each of its addresses', () => {
  const discovery = mesh(pod('dual', ['10.0.0.1', '2001:db8::1', '10.0.0.2']));
  expect(discovery.names('10.0.0.1', '2001:db8::1', '10.0.0.2', '10.0.0.3')).toEqual([
    'dual',
    'dual',
    'dual',
    undefined,
  ]);
  expect(discovery.settle().metric('discovery_workloads')).toBe(1);
  expect(discovery.metric('discovery_addresses')).toBe(3);
});

test('one without an address is a workload that nobody finds', () => {
  const discovery = mesh(pod('none', []));
  expect(discovery.settle().metric('discovery_workloads')).toBe(1);
  expect(discovery.metric('discovery_addresses')).toBe(0);
  expect(discovery.metric('discovery_refused')).toBe(0);
});

test('an address that stands there twice, in two spellings, is one', () => {
  const discovery = mesh(pod('twice', ['10.0.0.1', '::ffff:10.0.0.1', '10.0.0.1']));
  expect(discovery.names('10.0.0.1', '::ffff:10.0.0.1')).toEqual(['twice', 'twice']);
  expect(discovery.settle().metric('discovery_addresses')).toBe(1);
  discovery.istiod.remove('Kubernetes//Pod/default/twice');
  expect(discovery.settle().names('10.0.0.1', '::ffff:10.0.0.1')).toEqual([undefined, undefined]);
});

test('an IPv6 address that only looks like IPv4 in places is another one', () => {
  const discovery = mesh(pod('four', ['10.0.0.1']), pod('six', ['::10.0.0.1']), pod('seven', ['::fffe:10.0.0.1']));
  expect(discovery.names('10.0.0.1', '::ffff:a00:1', '::a00:1', '::fffe:a00:1')).toEqual([
    'four',
    'four',
    'six',
    'seven',
  ]);
});

test('of workloads that share an address the last one is found, and those before it when it goes', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const discovery = mesh(...names.map((name) => pod(name, ['10.0.0.1'])));
  const found: unknown[] = [];
  for (const name of names.toReversed()) {
    found.push(...discovery.settle().names('10.0.0.1'));
    discovery.istiod.remove(`Kubernetes//Pod/default/${name}`);
  }
  expect(found, 'four of them are remembered').toEqual(['e', 'd', 'c', 'b', undefined]);
  expect(discovery.settle().metric('discovery_addresses')).toBe(0);
});

describe('an update', () => {
  test('replaces all that was said before', () => {
    const discovery = mesh(pod('a', ['10.0.0.1'], { canonicalName: 'old', clusterId: 'east' }));
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { canonicalRevision: 'v2' }));
    const who = discovery.client('10.0.0.1:80');
    expect(who).toMatchObject({ NAME: 'a', LABELS: { version: 'v2' } });
    expect(who).not.toHaveProperty('CLUSTER_ID');
    expect(who?.LABELS).not.toHaveProperty('app');
  });

  test('that leaves an address out takes it away, and one that is new is found', () => {
    const discovery = mesh(pod('a', ['10.0.0.1', '10.0.0.2']));
    discovery.istiod.serve(pod('a', ['10.0.0.2', '10.0.0.3']));
    expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.3')).toEqual([undefined, 'a', 'a']);
  });

  test('that takes the last address away leaves the workload', () => {
    const discovery = mesh(pod('a', ['10.0.0.1']));
    discovery.istiod.serve(pod('a', []));
    expect(discovery.names('10.0.0.1')).toEqual([undefined]);
    expect(discovery.settle().metric('discovery_workloads')).toBe(1);
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    expect(discovery.settle().names('10.0.0.1')).toEqual(['a']);
  });
});

describe('an address that moved', () => {
  test('stays with its new workload when the old one goes, or says what it has left', () => {
    const discovery = mesh(pod('old', ['10.0.0.1', '10.0.0.2']), pod('new', ['10.0.0.1']));
    expect(discovery.names('10.0.0.1', '10.0.0.2')).toEqual(['new', 'old']);
    discovery.istiod.serve(pod('old', ['10.0.0.2']));
    expect(discovery.settle().names('10.0.0.1', '10.0.0.2')).toEqual(['new', 'old']);
    discovery.istiod.remove('Kubernetes//Pod/default/old');
    expect(discovery.settle().names('10.0.0.1', '10.0.0.2')).toEqual(['new', undefined]);
  });

  test('in one response: the new pod is there, and the old one removed', () => {
    const discovery = mesh(pod('old', ['10.0.0.1']));
    discovery.istiod.push({
      resources: [{ name: 'new', version: '2', body: workload(pod('new', ['10.0.0.1'])) }],
      removed: ['Kubernetes//Pod/default/old'],
    });
    expect(discovery.names('10.0.0.1')).toEqual(['new']);
  });

  test('and moves back', () => {
    const discovery = mesh(pod('a', ['10.0.0.1']), pod('b', ['10.0.0.1']), pod('a', ['10.0.0.1']));
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    discovery.istiod.remove('Kubernetes//Pod/default/b');
    expect(discovery.settle().names('10.0.0.1')).toEqual(['a']);
  });

  test('ten thousand times leaves as many addresses and keys as there are', () => {
    const discovery = mesh(pod('first', ['10.0.0.1']));
    const keys = discovery.proxy.process.shared.keys.length;
    for (let i = 0; i < 10_000; i += 100) {
      discovery.istiod.serve(...Array.from({ length: 100 }, (_, k) => pod(`pod-${(i + k) % 7}`, ['10.0.0.1'])));
    }
    expect(discovery.names('10.0.0.1')).toEqual([`pod-${9999 % 7}`]);
    expect(discovery.proxy.process.shared.keys).toHaveLength(keys);
    expect(discovery.settle().metric('discovery_workloads')).toBe(8);
  });
});

describe('a workload on the network of its host', () => {
  const onHost = { networkMode: 'HOST_NETWORK' } as const;

  test('is not known by the host’s address, which is also that of others', () => {
    const discovery = mesh(pod('kubelet', ['10.0.0.1'], onHost));
    expect(discovery.names('10.0.0.1')).toEqual([undefined]);
    expect(discovery.settle().metric('discovery_workloads')).toBe(1);
    expect(discovery.metric('discovery_refused')).toBe(0);
  });

  test('does not take the address away from one that has it', () => {
    expect(mesh(pod('a', ['10.0.0.1']), pod('kubelet', ['10.0.0.1'], onHost)).names('10.0.0.1')).toEqual(['a']);
  });

  test('lets go of what it had before', () => {
    const discovery = mesh(pod('a', ['10.0.0.1']), pod('a', ['10.0.0.1'], onHost));
    expect(discovery.names('10.0.0.1')).toEqual([undefined]);
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    expect(discovery.settle().names('10.0.0.1')).toEqual(['a']);
  });
});

describe('networks are kept apart', () => {
  const workloads = [
    pod('here', ['10.0.0.1', '10.0.0.2'], { network: 'east' }),
    pod('there', ['10.0.0.1', '10.0.0.3'], { network: 'west' }),
    pod('nowhere', ['10.0.0.1', '10.0.0.4']),
  ];

  test.each([
    ['east', ['here', 'here', undefined, undefined]],
    ['west', ['there', undefined, 'there', undefined]],
    [undefined, ['nowhere', undefined, undefined, 'nowhere']],
    ['south', [undefined, undefined, undefined, undefined]],
  ])('a proxy of network %s knows its own', (network, names) => {
    const discovery = new Discovery({ network });
    discovery.istiod.serve(...workloads);
    expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4')).toEqual(names);
  });

  test('removing the one of another network does not touch ours', () => {
    const discovery = new Discovery({ network: 'east' });
    discovery.istiod.serve(...workloads);
    discovery.istiod.remove('Kubernetes//Pod/default/there', 'Kubernetes//Pod/default/nowhere');
    expect(discovery.names('10.0.0.1')).toEqual(['here']);
  });

  test('a workload that moves to another network leaves its addresses there', () => {
    const discovery = new Discovery({ network: 'east' });
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { network: 'east' }));
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { network: 'west' }));
    expect(discovery.settle().names('10.0.0.1')).toEqual([undefined]);
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { network: 'east' }));
    expect(discovery.settle().names('10.0.0.1')).toEqual(['a']);
  });

  test.each([
    ['west', undefined],
    ['east', 'here'],
    ['', undefined],
  ])('a request whose x-forwarded-network is "%s"', (forwarded, name) => {
    const discovery = new Discovery({ network: 'east' });
    discovery.istiod.serve(...workloads);
    const from = { 'source.address': Buffer.from('10.0.0.1:80') };
    const to = { 'upstream.address': Buffer.from('10.0.0.1:80') };
    const stream = exchange(discovery.worker, from, to, { request: [['x-forwarded-network', forwarded]] });
    expect(learned(stream, 'downstream')?.NAME).toBe(name);
    expect(learned(stream, 'upstream')?.NAME, 'which says nothing of the server').toBe('here');
  });

  test('a workload of one network more than a proxy tells apart is refused, and the others stay', () => {
    const discovery = new Discovery({ network: 'n-0' });
    discovery.istiod.serve(
      ...Array.from({ length: 100 }, (_, i) => pod(`pod-${i}`, ['10.0.0.1'], { network: `n-${i}` })),
    );
    expect(discovery.names('10.0.0.1')).toEqual(['pod-0']);
    expect(discovery.settle().metric('discovery_refused')).toBe(36);
    expect(discovery.istiod.last.errorDetail?.message).toContain('network');
  });
});
