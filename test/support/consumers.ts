// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testedVersions } from '../../tools/envoy/binary.ts';
import { Envoy } from '../../tools/envoy/process.ts';
import { shippedAlone } from '../../tools/envoy/shipped.ts';
import { type Answer, type Request, send } from './http.ts';

/** What tests of the folders under envoy/consumers share. */

const versions = testedVersions();

/** The oldest and the newest Envoy that the filter runs on, with a name each. Where ENVOY names one it is that alone. */
export const OLDEST_AND_NEWEST = [...new Set([versions[0], versions.at(-1)])].map(
  (version) => [version ?? process.env.ENVOY, version] as const,
);

/** The configuration of a folder under envoy/consumers, running. */
export class Example implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    private readonly folder: string,
  ) {}

  /** Starts it, with each of these clusters at this port of the machine. */
  static async start(name: string, version?: string, endpoints: Record<string, number> = {}): Promise<Example> {
    const folder = mkdtempSync(join(tmpdir(), 'example-'));
    const config = shippedAlone(`envoy/consumers/${name}/envoy.yaml`, folder, endpoints);
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

  /** What a proxy wrote to its JSON access log about a request, by its path; waits until it is there. */
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  async logged(proxy: string, path: string): Promise<any> {
    // biome-ignore lint/suspicious/noExplicitAny: any JSON object
    let found: any;
    await this.envoy.until(`${proxy} has logged ${path}`, () => {
      const lines = this.envoy.log().matchAll(/^\{.*\}$/gm);
      found = Array.from(lines, ([line]) => JSON.parse(line)).find((line) => line.proxy === proxy && line.path === path);
      return found !== undefined;
    });
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    rmSync(this.folder, { recursive: true });
  }
}
