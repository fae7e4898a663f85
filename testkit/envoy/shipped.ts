// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { ROOT } from './binary.ts';
import { anyPort, type Bootstrap, localPort } from './process.ts';

/** The Envoy configurations that users read: YAML files under envoy/. Paths are relative to the project's root. */

/** All of them. */
export function shippedFiles(): string[] {
  const files = readdirSync(join(ROOT, 'envoy'), { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => /\.ya?ml$/.test(file))
    .map((file) => `envoy/${file}`)
    .filter((path) => documents(path).some((each) => each?.static_resources))
    .sort();
}

/** The YAML documents of a file: Kubernetes resources come several in one. */
function documents(path: string): Bootstrap[] {
  return parseAllDocuments(readFileSync(join(ROOT, path), 'utf8')).map((each) => each.toJS());
}

/**
 * A shipped configuration, ready to run on any machine: the admin page and listeners at free ports of this machine
 * only, and each cluster that `endpoints` names at a port of this machine, with the address that `addresses` has for
 * it. All else is as shipped.
 */
export function shipped(
  path: string,
  endpoints: Record<string, number> = {},
  addresses: Record<string, string> = {},
): Bootstrap {
  const config: Bootstrap = parse(readFileSync(join(ROOT, path), 'utf8'));
  config.admin = { ...config.admin, address: anyPort() };
  for (const listener of config.static_resources.listeners) listener.address = anyPort();
  for (const [name, port] of Object.entries(endpoints)) {
    const cluster = config.static_resources.clusters?.find((each: { name: string }) => each.name === name);
    if (!cluster) throw new Error(`${path} has no cluster ${name}`);
    cluster.type = 'STATIC';
    cluster.load_assignment.endpoints = [
      { lb_endpoints: [{ endpoint: { address: localPort(port, addresses[name]) } }] },
    ];
  }
  return config;
}

/**
 * A shipped configuration in which one Envoy plays several parts, ready to run: as `shipped` makes it, and what goes
 * from one of its listeners to another goes by sockets in a folder, so that no port has to be known beforehand.
 */
export function shippedAlone(path: string, folder: string, endpoints: Record<string, number> = {}): Bootstrap {
  const original: Bootstrap = parse(readFileSync(join(ROOT, path), 'utf8'));
  const config = shipped(path, endpoints);
  for (const [i, listener] of original.static_resources.listeners.entries()) {
    const pipe = { pipe: { path: join(folder, `${listener.name}.sock`) } };
    for (const cluster of config.static_resources.clusters ?? []) {
      for (const { lb_endpoints } of cluster.load_assignment.endpoints) {
        for (const { endpoint } of lb_endpoints) {
          if (endpoint.address.socket_address?.port_value !== listener.address.socket_address.port_value) continue;
          endpoint.address = pipe;
          config.static_resources.listeners[i].address = pipe;
        }
      }
    }
  }
  return config;
}

/** What the proxy of a shipped configuration says of itself: its id and its metadata. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON object
export function shippedIdentity(path: string): { id: string; metadata: Record<string, any> } {
  const { node } = parse(readFileSync(join(ROOT, path), 'utf8'));
  return { id: node.id, metadata: node.metadata['istio.io/metadata'] };
}
