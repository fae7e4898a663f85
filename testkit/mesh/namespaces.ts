// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

/**
 * Pods without Kubernetes: network namespaces, on a bridge that is in a namespace too. This machine's network is not
 * touched.
 */

/** Names of namespaces that a test may use: they say whose they are, so that those of the dead can be removed. */
export const ownPrefix = () => `test-${process.pid}`;
const OWNED = /^test-(\d+)-/;

/** Where iproute2 keeps them. */
const NAMESPACES = '/run/netns';

/** The bridge's address, which is the pods' way to everywhere else. */
export const NODE_ADDRESS = '10.244.0.1';

export class Namespaces implements Disposable {
  private readonly made: string[] = [];

  /** `prefix` begins the names of all namespaces. Throws one sentence where there can be none. */
  constructor(private readonly prefix: string) {
    try {
      forgetTheDead();
      const node = this.add('node');
      run('ip', '-n', node, 'link', 'add', 'bridge', 'type', 'bridge');
      run('ip', '-n', node, 'address', 'add', `${NODE_ADDRESS}/24`, 'dev', 'bridge');
      run('ip', '-n', node, 'link', 'set', 'bridge', 'up');
    } catch (error) {
      this[Symbol.dispose]();
      throw new Error(
        `Network namespaces cannot be made here (root is needed, and a Linux with veth and bridge): ${(error as Error).message}`,
      );
    }
  }

  /** A namespace with an address on the bridge; what is to be run inside is put behind the answer. */
  addPod(name: string, address: string): string[] {
    const pod = this.add(name);
    const node = this.nameOf('node');
    run('ip', 'link', 'add', 'eth0', 'netns', pod, 'type', 'veth', 'peer', 'name', name.slice(0, 15), 'netns', node);
    run('ip', '-n', node, 'link', 'set', name.slice(0, 15), 'master', 'bridge', 'up');
    run('ip', '-n', pod, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    run('ip', '-n', pod, 'link', 'set', 'eth0', 'up');
    run('ip', '-n', pod, 'route', 'add', 'default', 'via', NODE_ADDRESS);
    return this.inside(name);
  }

  /** What runs a command inside a namespace, to be put before it. */
  inside(name: string): string[] {
    return ['ip', 'netns', 'exec', this.nameOf(name)];
  }

  /** Removes the namespaces, and with them all that is inside: interfaces, routes, rules. */
  [Symbol.dispose](): void {
    for (const name of this.made.splice(0)) run('ip', 'netns', 'delete', name);
  }

  private nameOf(name: string): string {
    return `${this.prefix}-${name}`;
  }

  private add(name: string): string {
    const namespace = this.nameOf(name);
    if (existsSync(`${NAMESPACES}/${namespace}`)) run('ip', 'netns', 'delete', namespace);
    run('ip', 'netns', 'add', namespace);
    this.made.push(namespace);
    run('ip', '-n', namespace, 'link', 'set', 'lo', 'up');
    return namespace;
  }
}

/** Removes the namespaces of tests that were killed. */
function forgetTheDead(): void {
  if (!existsSync(NAMESPACES)) return;
  for (const name of readdirSync(NAMESPACES)) {
    const owner = OWNED.exec(name)?.[1];
    if (owner && !existsSync(`/proc/${owner}`)) run('ip', 'netns', 'delete', name);
  }
}

/** Runs a command; what it wrote. Throws with what it said if it fails. */
export function run(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe', env: { ...process.env, PATH: SEARCH_PATH } });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new Error(`${command} ${args.join(' ')}: ${stderr?.trim() || message}`);
  }
}

/** Not every user's has the administrator's folders. */
export const SEARCH_PATH = `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`;
