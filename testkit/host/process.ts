// SPDX-License-Identifier: Apache-2.0
import type { GrpcServer } from './grpc.ts';
import type { Host } from './host.ts';
import { Shared } from './shared.ts';

/** What the VMs of one Envoy have in common: its clock, its event loops, its clusters, its metrics, and what modules share. */
export class Process {
  readonly shared = new Shared();
  /** Servers by the names of their clusters. */
  readonly clusters: Record<string, GrpcServer> = {};
  /** Metrics of all VMs, by name. */
  readonly metrics: Record<string, number> = {};
  /** Milliseconds since 1970; undefined: those of this machine. */
  clock: number | undefined;
  /** The VMs that serve a thread. */
  readonly vms: Host[] = [];

  private readonly posted: (() => void)[] = [];
  private depth = 0;

  /** The time now, in milliseconds since 1970. */
  now(): number {
    return this.clock ?? Date.now();
  }

  /** Runs something once no module is running. */
  post(task: () => void): void {
    this.posted.push(task);
    if (this.depth === 0) this.enter(() => {});
  }

  /** Runs a module, and after that what was posted meanwhile. */
  enter<T>(run: () => T): T {
    this.depth++;
    try {
      const result = run();
      if (this.depth === 1) for (let task = this.posted.shift(); task; task = this.posted.shift()) task();
      return result;
    } finally {
      this.depth--;
    }
  }

  /** The VM that a thread has of the same module: another one than `vm` where that was a canary. */
  vmBeside(vm: Pick<Host, 'thread' | 'module'>): Host | undefined {
    return this.vms.find(({ thread, module }) => thread === vm.thread && module === vm.module);
  }

  /** A VM ended; what modules share ends with the last one. */
  remove(vm: Host): void {
    const at = this.vms.indexOf(vm);
    if (at >= 0) this.vms.splice(at, 1);
    if (this.vms.length === 0) this.shared.clear();
  }
}
