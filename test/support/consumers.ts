// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT, testedVersions } from '../../testkit/envoy/binary.ts';
import { type Bootstrap, Envoy } from '../../testkit/envoy/process.ts';
import { shippedAlone } from '../../testkit/envoy/shipped.ts';
import { type Answer, type Request, send } from '../../testkit/http.ts';
import { consumer, OLDEST } from '../../tools/consumers.ts';

/** What tests of the folders under envoy/consumers share. */

const versions = testedVersions();

/** The oldest and the newest Envoy that the filter runs on, with a name each. Where ENVOY names one it is that alone. */
export const OLDEST_AND_NEWEST = [...new Set([versions[0], versions.at(-1)])].map(
  (version) => [version ?? process.env.ENVOY, version] as const,
);

/** The name of the test that proves a row of docs/consume.md: every row has one. */
export function row(id: string): string {
  const { consumer: name, peer, from } = consumer(id);
  const sides = peer === 'both' ? 'client and server' : peer;
  return `${name}: ${sides}, from ${from === 'both' ? 'dynamic metadata and filter state' : from}`;
}

const file = (name: string, of = 'envoy.yaml') => `envoy/consumers/${name}/${of}`;

/** What the parts of a folder's configuration say of themselves. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON object
export function identities(name: string): Record<string, any> {
  return parse(readFileSync(join(ROOT, file(name)), 'utf8')).node.metadata;
}

/** The identity of the node that plays all parts. */
export const NODE_ID = 'example-node';

/** Whether an Envoy is as new as a row asks for. One that ENVOY names is taken to be new. */
export function takes(id: string, version?: string): boolean {
  return !version || version.localeCompare(consumer(id).since ?? OLDEST, 'en', { numeric: true }) >= 0;
}

/** The connection manager of a listener. */
// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
export function managerOf(config: Bootstrap, listener: string): any {
  const found = config.static_resources.listeners.find((each: { name: string }) => each.name === listener);
  return found.filter_chains[0].filters[0].typed_config;
}

/** Changes the HTTP filters of every listener, the router excepted, which stays the last. */
// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
export function changeFilters(config: Bootstrap, change: (filters: any[]) => any[]): void {
  for (const { name } of config.static_resources.listeners) {
    const manager = managerOf(config, name);
    const router = manager.http_filters.at(-1);
    manager.http_filters = [...change(manager.http_filters.slice(0, -1)), router];
  }
}

/** Whether a filter is the bridge, by the file that it runs. */
// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
export function isBridge(filter: any): boolean {
  return /^envoy\/dynamic_metadata/.test(filter.typed_config.default_source_code?.filename);
}

export interface ExampleOptions {
  version?: string;
  /** Another file of the folder than envoy.yaml. */
  file?: string;
  /** Ports of this machine, by the names of clusters. */
  endpoints?: Record<string, number>;
  /** Changes the configuration before it starts. */
  change?: (config: Bootstrap) => void;
}

/** The configuration of a folder under envoy/consumers, running. */
export class Example implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    private readonly folder: string,
  ) {}

  static async start(name: string, options: ExampleOptions = {}): Promise<Example> {
    const folder = mkdtempSync(join(tmpdir(), 'example-'));
    const { version, endpoints, change } = options;
    const config = shippedAlone(file(name, options.file), folder, endpoints);
    change?.(config);
    try {
      return new Example(await Envoy.start(config, { name, version }), folder);
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  /** Sends a request to a listener. */
  async send(listener: string, request: Request): Promise<Answer> {
    const socket = join(this.folder, `${listener}.sock`);
    return await send(existsSync(socket) ? socket : await this.envoy.port(listener), request);
  }

  /** Waits until something was found, and returns it. */
  async found<T>(what: string, find: () => T | undefined): Promise<T> {
    let found: T | undefined;
    await this.envoy.until(what, () => {
      found = find();
      return found !== undefined;
    });
    return found as T;
  }

  /** What a proxy wrote to its JSON access log about a request, by its path; waits until it is there. */
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  async logged(proxy: string, path: string): Promise<any> {
    return await this.found(`${proxy} has logged ${path}`, () => {
      const lines = Array.from(this.envoy.log().matchAll(/^\{.*\}$/gm), ([line]) => JSON.parse(line));
      return lines.find((line) => line.proxy === proxy && line.path === path);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    rmSync(this.folder, { recursive: true });
  }
}
