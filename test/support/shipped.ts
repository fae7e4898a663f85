// SPDX-License-Identifier: Apache-2.0
import { type Bootstrap, Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';

/** Several Envoys that stop together. */
export class Fleet implements AsyncDisposable {
  private readonly running: Envoy[] = [];

  async start(name: string, config: Bootstrap, options: EnvoyOptions = {}): Promise<Envoy> {
    const envoy = await Envoy.start(config, { name, ...options });
    this.running.push(envoy);
    return envoy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.running.splice(0).map((envoy) => envoy.stop()));
  }
}

/** The access log's line of a request, as shipped configurations write it: by its path. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON object
export async function logged(envoy: Envoy, path: string): Promise<any> {
  const line = () => envoy.log().match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'm'))?.[0];
  await envoy.until(`${path} is in the access log`, () => line() !== undefined);
  return JSON.parse(line()!);
}
