// SPDX-License-Identifier: Apache-2.0
import type { GrpcServer } from './grpc.ts';
import { Host } from './host.ts';
import { Process } from './process.ts';

/** What a proxy is. */
export interface HostedProxyOptions {
  /** How many worker threads it has. */
  workers?: number;
  /** What every stream can ask of it. */
  properties?: Record<string, Buffer>;
  /** Servers by the names of their clusters. */
  clusters?: Record<string, GrpcServer>;
  /** Milliseconds by which it is younger than others. */
  start?: number;
  /** False: no VM is on the main thread, and none is tried out there. */
  hasMain?: boolean;
}

/** A configuration in a VM. */
export interface Filter {
  host: Host;
  root: number;
}

/** A configuration as a listener or ECDS brings it: one root in the VM of each thread. */
export interface Plugin {
  main?: Filter;
  workers: Filter[];
}

/** The time at which a proxy starts. */
const START = Date.UTC(2026, 10, 26);

/**
 * An Envoy of several threads around the built module: VMs that share data and queues, a clock that only moves when
 * told to, and servers behind its clusters. VMs of one module on one thread are one VM, as in Envoy without a vm_id.
 */
export class HostedProxy {
  readonly process = new Process();
  private readonly properties: Record<string, Buffer>;
  private readonly workers: number;
  private readonly hasMain: boolean;

  constructor({ workers = 2, properties = {}, clusters = {}, hasMain = true, start = 0 }: HostedProxyOptions = {}) {
    this.properties = properties;
    this.workers = workers;
    this.hasMain = hasMain;
    this.process.clock = START + start;
    Object.assign(this.process.clusters, clusters);
  }

  /** A metric of the module, over all VMs. */
  metric(name: string): number | undefined {
    return this.process.metrics[`metadata_exchange.${name}`];
  }

  /** Loads a configuration on every thread: a canary first, which is gone afterwards. */
  load(config: string | object, module?: WebAssembly.Module): Plugin {
    const text = typeof config === 'string' ? config : JSON.stringify(config);
    const { process, properties, hasMain } = this;
    if (hasMain) {
      const canary = new Host(properties, module, { process, thread: 0, isCanary: true });
      if (canary.configure(text) === undefined) throw new Error(`refused: ${canary.complaints()}`);
    }
    const on = (thread: number): Filter => {
      const place = { process, thread };
      const host = process.vmBeside({ thread, module: module ?? Host.built }) ?? new Host(properties, module, place);
      const root = host.configure(text);
      if (root === undefined) throw new Error(`refused: ${host.complaints()}`);
      return { host, root };
    };
    const main = hasMain ? on(0) : undefined;
    return { main, workers: Array.from({ length: this.workers }, (_, i) => on(i + 1)) };
  }

  /** Ends a configuration: on the main thread first, on workers only with their last streams. */
  unload({ main, workers }: Plugin): void {
    for (const filter of main ? [main, ...workers] : workers) this.end(filter);
  }

  /** Ends a configuration on one thread; its VM ends with the last one. */
  end({ host, root }: Filter): void {
    host.end(root);
    if (host.roots.size > 0) return;
    this.process.remove(host);
  }

  /** Lets time pass: each root of each VM is ticked as often as its VM asked for. */
  pass(seconds: number): void {
    const until = this.process.now() + seconds * 1000;
    const period = ({ tickPeriod }: Host) => tickPeriod || 1000;
    while (this.process.now() < until) {
      const step = Math.min(until - this.process.now(), ...this.process.vms.map(period));
      const before = this.process.now();
      this.process.clock = before + step;
      for (const vm of [...this.process.vms]) {
        const isDue = Math.floor(this.process.clock / period(vm)) > Math.floor(before / period(vm));
        if (isDue) for (const root of [...vm.roots]) vm.tick(root);
      }
    }
  }

  /** The errors and warnings of all VMs. */
  complaints(): string[] {
    return this.process.vms.flatMap((vm) => vm.complaints());
  }
}
