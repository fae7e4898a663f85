// SPDX-License-Identifier: Apache-2.0
import { Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import { tcpProxy } from '../../testkit/envoy/tcp.ts';
import { ConfigFiles } from './config_files.ts';
import { type TcpProxyOptions, tcpBootstrap } from './tcp.ts';
import { TcpServer, type Wire } from './wire.ts';

const NETWORK_WASM = 'type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm';

/** The two ways in which a control plane replaces a filter's configuration. */
export type How = 'lds' | 'ecds';

/** An Envoy before a TCP server whose listener, or whose filter alone, is replaced while connections live. */
export class UpdatableTcp implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    readonly server: TcpServer,
    readonly port: number,
    private readonly how: How,
    private readonly files: ConfigFiles,
    private readonly options: TcpProxyOptions,
  ) {}

  static async start(
    how: How,
    filter: object,
    options: TcpProxyOptions & EnvoyOptions,
    serve?: (wire: Wire) => void,
  ): Promise<UpdatableTcp> {
    const server = await TcpServer.start(serve);
    const files = new ConfigFiles();
    const watched = {
      name: 'watched',
      config_discovery: { config_source: files.source('ecds'), type_urls: [NETWORK_WASM] },
    };
    const base = tcpBootstrap(server.port, how === 'ecds' ? { ...options, filters: [watched] } : options);
    if (how === 'ecds') files.write('ecds', [{ ...filter, name: 'watched' }]);
    else {
      files.write('lds', [listenerWith(base, filter)]);
      base.static_resources.listeners = [];
      base.dynamic_resources = { lds_config: files.source('lds') };
    }
    const envoy = await Envoy.start(base, options);
    return new UpdatableTcp(envoy, server, await envoy.port('listener'), how, files, options);
  }

  /** Replaces the filter's configuration, and waits until Envoy took it. */
  async update(filter: object): Promise<void> {
    const counter =
      this.how === 'lds'
        ? 'listener_manager.lds.update_success'
        : 'extension_config_discovery.network_filter.watched.config_reload';
    const before = await this.envoy.stat(counter);
    if (this.how === 'ecds') this.files.write('ecds', [{ ...filter, name: 'watched' }]);
    else this.files.write('lds', [listenerWith(tcpBootstrap(this.server.port, this.options), filter)]);
    await this.envoy.until('the update is taken', async () => (await this.envoy.stat(counter)) > before);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.server[Symbol.asyncDispose]();
    this.files[Symbol.dispose]();
  }
}

/** The listener of a bootstrap, with this filter in front of the TCP proxy. */
function listenerWith(base: ReturnType<typeof tcpBootstrap>, filter: object): object {
  const [listener] = base.static_resources.listeners;
  listener.filter_chains[0].filters = [filter, tcpProxy({ name: 'listener' })];
  return listener;
}
