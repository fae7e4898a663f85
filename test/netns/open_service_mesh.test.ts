// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Authority } from '../../testkit/envoy/certificates.ts';
import { ownPrefix } from '../../testkit/mesh/namespaces.ts';
import { BOOKSTORE, LIBRARY, OpenServiceMesh } from '../../testkit/mesh/open_service_mesh.ts';
import type { Pod } from '../../testkit/mesh/pod.ts';
import { answeredBy, Shopping } from './shopping.ts';

// biome-ignore lint/suspicious/noExplicitAny: any JSON object
type Line = any;

describe('Open Service Mesh as it is, in network namespaces', { timeout: 60_000 }, () => {
  let mesh: OpenServiceMesh;
  let clients: Pod[];
  let servers: Pod[];

  beforeAll(async () => {
    mesh = await OpenServiceMesh.start({ prefix: ownPrefix(), drainSeconds: 1 });
    clients = [mesh.pods.bookbuyer, mesh.pods.bookthief];
    servers = [mesh.pods['bookstore-v1'], mesh.pods['bookstore-v2']];
  }, 60_000);
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('introduces clients and servers to each other, wherever iptables took them from', async () => {
    const bought = await Shopping.during(mesh, async () => undefined);
    expect(new Set(bought.map((each) => answeredBy(each).bookstore))).toEqual(new Set(servers.map(({ name }) => name)));
    for (const pod of clients) {
      expect(new Set(pod.log().map((line) => line.wanted))).toEqual(
        new Set([`${BOOKSTORE}:14001`, `${BOOKSTORE}:14002`]),
      );
    }
    for (const pod of servers) {
      const wanted = new Set(pod.log().map((line) => line.wanted));
      expect(wanted).toEqual(new Set([`${pod.address}:14001`, `${pod.address}:14002`]));
      expect(new Set(pod.log().map((line) => line.from))).toEqual(new Set(clients.map(({ address }) => address)));
    }
  });

  it('tells servers less where a filter chain of its own says so, in the same listener and VM', async () => {
    const bought = await Shopping.during(mesh, async () => undefined);
    const ports = new Map(bought.map(({ path, port }) => [path, port]));
    for (const server of servers) {
      const lines = server.log().filter(({ path }) => ports.has(path));
      expect(lines.length).toBeGreaterThan(0);
      for (const line of lines) {
        const client = clients.find(({ address }) => address === line.from) as Pod;
        const { NAME, NAMESPACE, SERVICE_ACCOUNT } = client.says.metadata;
        const some = { NAME, NAMESPACE, SERVICE_ACCOUNT };
        expect(line.peer.value).toEqual(ports.get(line.path) === '14001' ? client.says.metadata : some);
      }
    }
  });

  it('says nothing to a server outside of the mesh, and lets nobody in from there', async () => {
    const { address, port } = LIBRARY;
    const library = await mesh.ask('bookbuyer', 'curl', '--silent', `http://${address}:${port}/open`);
    expect(JSON.parse(library).bookstore).toBe('library');
    expect(library).not.toMatch(/x-istio-peer|x-envoy/i);

    const before = servers.flatMap((pod) => pod.log()).length;
    for (const pod of servers) {
      const claim = ['-H', 'x-istio-peer-id: forged', `http://${pod.address}:14001/forged`];
      await expect(mesh.ask('node', 'curl', '--silent', '--show-error', ...claim), pod.name).rejects.toThrow(
        /reset|empty/i,
      );
    }
    expect(servers.flatMap((pod) => pod.log())).toHaveLength(before);
  });

  describe('loses no request and mistakes nobody while', () => {
    it('EDS takes a pod away, another one gets its address, and EDS brings that', async () => {
      const [stays, goes] = servers;
      const files = ['eds-bookstore.14001.yaml', 'eds-bookstore.14002.yaml'];
      const without = (text: string) => text.replace(new RegExp(`^.*${goes.address}.*\n`, 'm'), '');
      const bought = await Shopping.during(mesh, async (shopping) => {
        const all = new Map(files.map((file) => [file, clients[0].read(file)]));
        for (const pod of clients) for (const file of files) pod.update(file, without);
        await shopping.untilAll('one pod is left', (each) => answeredBy(each).bookstore === stays.name);
        await shopping.kill(goes);
        await shopping.goOn();
        goes.replace('bookstore-v2-another');
        await goes.start();
        for (const pod of clients) for (const file of files) pod.update(file, () => all.get(file) as string);
        const back = ({ host, peer_name }: Line) =>
          !host.startsWith(goes.address) || peer_name === 'bookstore-v2-another';
        await shopping.untilLogged('it is back', [goes], () => true);
        await shopping.untilLogged('clients know that it is another', clients, back);
      });
      expect(new Set(bought.map((each) => answeredBy(each).bookstore)).size).toBe(2);
    });

    it('RDS changes the routes, at clients and servers', async () => {
      const add = (header: string) => (text: string) =>
        text.replace(
          'virtual_hosts:',
          `request_headers_to_add: [{ header: { key: ${header}, value: new } }]\n    virtual_hosts:`,
        );
      await Shopping.during(mesh, async (shopping) => {
        for (const pod of clients) pod.update('rds-outbound.14001.yaml', add('x-outbound'));
        for (const pod of servers) pod.update('rds-inbound.14001.yaml', add('x-inbound'));
        await shopping.untilAll('the routes are new', (each) => {
          const { headers } = answeredBy(each);
          const isNew = headers['x-outbound'] === 'new' && headers['x-inbound'] === 'new';
          return isNew === (each.port === '14001');
        });
      });
    });

    it('CDS replaces a cluster and adds one, and RDS sends half of the requests there', async () => {
      const changed = (text: string) => text.replaceAll('connect_timeout: 2s', 'connect_timeout: 3s');
      const [old, added] = ['bookstore/bookstore|14002', 'bookstore/bookstore-copy|14002'];
      const withCopy = (text: string) => {
        const resources = changed(text).split(/^(?= {2}- )/m);
        const original = resources.find((each) => each.includes(`name: ${old}`)) as string;
        return [...resources, '\n', original.replace(old, added).replace('eds-bookstore', 'eds-copy')].join('');
      };
      const split = `weighted_clusters: { clusters: [{ name: ${old}, weight: 50 }, { name: ${added}, weight: 50 }] }`;
      await Shopping.during(mesh, async () => {
        for (const pod of clients) {
          pod.add('eds-copy.14002.yaml', pod.read('eds-bookstore.14002.yaml').replace(old, added));
          pod.update('cds.yaml', withCopy);
        }
        for (const pod of clients) {
          await pod.sidecar.until('the clusters are new', async () => {
            const stat = (name: string) => pod.sidecar.stat(`cluster_manager.${name}`);
            return (await stat('cluster_modified')) >= 2 && (await stat('cluster_added')) >= 4;
          });
          pod.update('rds-outbound.14002.yaml', (text) => text.replace(`cluster: ${old}`, split));
        }
        for (const pod of clients) {
          for (const cluster of [old, added]) {
            const before = pod.log().filter((line) => line.cluster === cluster).length;
            await pod.sidecar.until(`${cluster} is used`, () => {
              return pod.log().filter((line) => line.cluster === cluster).length > before + 10;
            });
          }
        }
      });
    });

    it('LDS replaces listeners as a whole at servers, and one filter chain of several at clients', async () => {
      const whole = (text: string) =>
        text.replace('    transparent: true', '    transparent: true\n    tcp_backlog_size: 1000');
      const chain = (text: string) => text.replace('["NAME", "NAMESPACE",', '["WORKLOAD_NAME", "NAME", "NAMESPACE",');
      await Shopping.during(mesh, async (shopping) => {
        for (const pod of servers) pod.update('lds.yaml', whole);
        await shopping.goOn();
        for (const pod of clients) pod.update('lds.yaml', chain);
        await shopping.untilLogged('clients say more at port 14002', servers, ({ wanted, peer, from }) => {
          const { WORKLOAD_NAME } = (clients.find(({ address }) => address === from) as Pod).says.metadata;
          return !wanted.endsWith(':14002') || peer.value.WORKLOAD_NAME === WORKLOAD_NAME;
        });
        for (const pod of [...servers, ...clients]) {
          await pod.sidecar.until('the old listeners are gone', async () => {
            const draining = ['listeners', 'filter_chains'].map((of) => `listener_manager.total_${of}_draining`);
            return (await Promise.all(draining.map((name) => pod.sidecar.stat(name)))).every((each) => each === 0);
          });
        }
        for (const pod of servers) expect(await pod.sidecar.stat('listener_manager.listener_modified')).toBe(1);
        for (const pod of clients) expect(await pod.sidecar.stat('listener_manager.listener_in_place_updated')).toBe(1);
      });
    });

    it('SDS rotates all certificates, and then the authority that they come from', async () => {
      const [first, second] = [mesh.authority, mesh.anotherAuthority()];
      const roots = (...of: Authority[]) => Buffer.concat(of.map((each) => readFileSync(each.root)));
      const steps: [string, Authority, Buffer][] = [
        ['new certificates, and both authorities are believed', first, roots(first, second)],
        ['certificates of the new authority', second, roots(first, second)],
        ['the old authority is forgotten', second, roots(second)],
      ];
      const old = clients[0].certificate;
      await Shopping.during(mesh, async (shopping) => {
        for (const [what, authority, believed] of steps) {
          for (const pod of [...clients, ...servers]) pod.showCertificate(authority, believed);
          const by = (pods: Pod[], address: string) => pods.find((pod) => address.split(':')[0] === pod.address) as Pod;
          await shopping.untilLogged(what, servers, (line) => line.fingerprint === by(clients, line.from).fingerprint);
          await shopping.untilLogged(what, clients, (line) => line.fingerprint === by(servers, line.host).fingerprint);
        }
      });
      // Whoever still shows a certificate of the old authority stays out, and with a new one gets in.
      const [server] = servers;
      expect(await mesh.knock(server, clients[0].certificate)).toMatch(/HTTP\/1\.1 200/);
      expect(await mesh.knock(server, old)).toMatch(/alert unknown ca|alert certificate unknown/);
    });

    it('sidecars of both sides are replaced by a hot restart', async () => {
      const restarted = [mesh.pods.bookbuyer, mesh.pods['bookstore-v1'], mesh.pods['bookstore-v2']];
      await Shopping.during(mesh, async (shopping) => {
        const before = restarted.map((pod) => pod.sidecar);
        await Promise.all(restarted.map((pod) => pod.start('hot')));
        for (const each of before) await each.until('it has handed over and ended', () => !each.running);
        await shopping.untilLogged('the new ones serve', restarted, () => true);
      });
      for (const pod of restarted) expect(await pod.sidecar.stat('server.hot_restart_epoch')).toBe(1);
    });

    it("a server's sidecar is killed, and started again", async () => {
      const [stays, dies] = servers;
      await Shopping.during(mesh, async (shopping) => {
        await shopping.kill(dies);
        await shopping.untilAll('the other one answers', (each) => answeredBy(each).bookstore === stays.name);
        await dies.start();
        await shopping.untilLogged('it is back', [dies], () => true);
      });
    });
  });
});
