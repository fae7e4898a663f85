// SPDX-License-Identifier: Apache-2.0
import { httpListener, type Listener, proxy } from '../../testkit/envoy/config.ts';
import { Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import { type Answering, App } from '../../testkit/http.ts';
import { ConfigFiles } from './config_files.ts';

export interface UpdatableOptions extends EnvoyOptions {
  node?: object;
  answer?: Answering;
}

/** An Envoy whose listeners come from a file, and can be replaced while it serves: LDS, as from a control plane. */
export class Updatable implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    readonly app: App,
    private readonly files: ConfigFiles,
  ) {}

  static async start(listeners: Listener[], options: UpdatableOptions = {}): Promise<Updatable> {
    const app = await App.start(options.answer);
    const files = new ConfigFiles();
    files.write('lds', listeners.map(httpListener));
    const base = proxy({ node: options.node, listeners: [], clusters: { app: { port: app.port } } });
    const dynamic = { lds_config: files.source('lds') };
    const envoy = await Envoy.start({ ...base, dynamic_resources: dynamic }, options);
    return new Updatable(envoy, app, files);
  }

  /** Replaces the listeners, and waits until Envoy took the new ones, or refused them. */
  async update(
    listeners: Listener[],
    expected: 'update_success' | 'update_rejected' = 'update_success',
  ): Promise<void> {
    const counter = `listener_manager.lds.${expected}`;
    const before = await this.envoy.stat(counter);
    this.files.write('lds', listeners.map(httpListener));
    await this.envoy.until(`the listeners are updated: ${expected}`, async () => {
      return (await this.envoy.stat(counter)) > before;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.app[Symbol.asyncDispose]();
    this.files[Symbol.dispose]();
  }
}
