// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { httpListener, type Listener, proxy } from '../../testkit/envoy/config.ts';
import { Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import { type Answering, App } from '../../testkit/http.ts';

export interface UpdatableOptions extends EnvoyOptions {
  node?: object;
  answer?: Answering;
}

/** An Envoy whose listeners come from a file, and can be replaced while it serves: LDS, as from a control plane. */
export class Updatable implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    readonly app: App,
    private readonly folder: string,
  ) {}

  static async start(listeners: Listener[], options: UpdatableOptions = {}): Promise<Updatable> {
    const app = await App.start(options.answer);
    const folder = mkdtempSync(join(tmpdir(), 'lds-'));
    write(folder, listeners);
    const base = proxy({ node: options.node, listeners: [], clusters: { app: { port: app.port } } });
    const source = { path_config_source: { path: join(folder, 'lds.json') } };
    const envoy = await Envoy.start({ ...base, dynamic_resources: { lds_config: source } }, options);
    return new Updatable(envoy, app, folder);
  }

  /** Replaces the listeners, and waits until Envoy took the new ones, or refused them. */
  async update(
    listeners: Listener[],
    expected: 'update_success' | 'update_rejected' = 'update_success',
  ): Promise<void> {
    const counter = `listener_manager.lds.${expected}`;
    const before = await this.envoy.stat(counter);
    write(this.folder, listeners);
    await this.envoy.until(`the listeners are updated: ${expected}`, async () => {
      return (await this.envoy.stat(counter)) > before;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.app[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

function write(folder: string, listeners: Listener[]): void {
  const type = 'type.googleapis.com/envoy.config.listener.v3.Listener';
  const resources = listeners.map((listener) => ({ '@type': type, ...httpListener(listener) }));
  // Envoy watches for files that are moved into place.
  writeFileSync(join(folder, 'next.json'), JSON.stringify({ resources }));
  renameSync(join(folder, 'next.json'), join(folder, 'lds.json'));
}
