// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { BOOKSTORE, type OpenServiceMesh, PORTS } from '../../testkit/mesh/open_service_mesh.ts';
import type { Pod } from '../../testkit/mesh/pod.ts';

/** The applications of the clients' pods at work, and what must be true of every request that they make. */

/** What an application got. */
export interface Bought {
  path: string;
  port: string;
  status?: number;
  error?: string;
  /** Names and values in turn. */
  headers: string[];
  /** Who answered, and what the application there saw. */
  body: string;
}

/** What the application that answered says: who it is, and which headers came. */
export const answeredBy = (bought: Bought): { bookstore: string; path: string; headers: Record<string, string> } =>
  JSON.parse(bought.body);

/** How many answers make sure that something is so: more than can be under way, and new connections among them. */
export const ENOUGH = 30;

let trips = 0;

class Shopper {
  readonly bought: Bought[] = [];
  private readonly process: ChildProcess;

  constructor(
    mesh: OpenServiceMesh,
    readonly pod: Pod,
  ) {
    const path = `/${pod.name}/${trips}`;
    const script = join(import.meta.dirname, 'shopper.mjs');
    this.process = mesh.run(pod.name, process.execPath, script, BOOKSTORE, path, ...PORTS);
    let rest = '';
    this.process.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) this.bought.push(JSON.parse(line));
    });
  }

  /** Ends when all that it asked for is answered; whether it came to that. */
  async stop(): Promise<boolean> {
    const ended = once(this.process, 'close');
    this.process.stdin?.end();
    const patience = setTimeout(() => this.process.kill('SIGKILL'), 15_000);
    const [, signal] = await ended;
    clearTimeout(patience);
    return signal === null;
  }
}

export class Shopping {
  private readonly shoppers: Shopper[];
  private killed: Pod | undefined;

  private constructor(private readonly mesh: OpenServiceMesh) {
    trips++;
    this.shoppers = [mesh.pods.bookbuyer, mesh.pods.bookthief].map((pod) => new Shopper(mesh, pod));
  }

  /** Does something while both clients send requests; then looks at each of them: none lost, nobody taken for another. */
  static async during(mesh: OpenServiceMesh, what: (shopping: Shopping) => Promise<void>): Promise<Bought[]> {
    const shopping = new Shopping(mesh);
    let answered: boolean[];
    try {
      await shopping.goOn();
      await what(shopping);
      await shopping.goOn();
    } finally {
      answered = await Promise.all(shopping.shoppers.map((each) => each.stop()));
    }
    expect(answered, 'whether each client has all its answers').toEqual([true, true]);
    await shopping.check();
    return shopping.shoppers.flatMap((each) => each.bought);
  }

  /** Kills a pod's sidecar: the last lines of its log may never have been written. */
  async kill(pod: Pod): Promise<void> {
    this.killed = pod;
    await pod.stop();
  }

  /** Waits for some more answers, at both clients. */
  async goOn(): Promise<void> {
    const enough = this.shoppers.map((each) => each.bought.length + ENOUGH);
    await this.until('requests are answered', () => this.shoppers.every((each, i) => each.bought.length >= enough[i]));
  }

  /** Waits until the newest answers of each client are as they should be: `ENOUGH` of them. */
  async untilAll(what: string, holds: (bought: Bought) => boolean): Promise<void> {
    const before = this.shoppers.map((each) => each.bought.length);
    await this.until(what, () =>
      this.shoppers.every(({ bought }, i) => {
        return bought.length >= before[i] + ENOUGH && bought.slice(-ENOUGH).every(holds);
      }),
    );
  }

  /** Waits until something holds of the newest access log lines of each of these pods. */
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  async untilLogged(what: string, pods: Pod[], holds: (line: any, pod: Pod) => boolean): Promise<void> {
    const before = pods.map((pod) => pod.log().length);
    await this.until(what, () =>
      pods.every((pod, i) => {
        const log = pod.log();
        return log.length >= before[i] + ENOUGH && log.slice(-ENOUGH).every((line) => holds(line, pod));
      }),
    );
  }

  private async until(what: string, holds: () => boolean): Promise<void> {
    for (const end = Date.now() + 40_000; !holds(); await sleep(50)) {
      const lost = this.shoppers.flatMap(({ bought }) => bought).find(({ status }) => status !== 200);
      if (lost) throw new Error(`a request was lost, waiting until ${what}: ${JSON.stringify(lost)}`);
      if (Date.now() > end) throw new Error(`waiting until ${what}: it took too long\n${this.newest()}`);
    }
  }

  private newest(): string {
    return this.shoppers.map(({ bought }) => JSON.stringify(bought.slice(-3))).join('\n');
  }

  private async check(): Promise<void> {
    for (const { bought, pod } of this.shoppers) {
      expect(
        bought.filter((each) => each.status !== 200),
        `what ${pod.name} lost, of ${bought.length} requests`,
      ).toEqual([]);
      await this.until(`all that ${pod.name} asked for is logged, at both sides`, () => {
        const paths = new Map([pod, ...this.servers()].map((each) => [each.name, new Set(byPath(each).keys())]));
        return bought.every((each) => {
          const { bookstore } = answeredBy(each);
          const atServer = bookstore === this.killed?.name || paths.get(bookstore)?.has(each.path);
          return atServer && paths.get(pod.name)?.has(each.path);
        });
      });
      const client = byPath(pod);
      const servers = this.servers().map((server) => [server, byPath(server)] as const);
      for (const each of bought) {
        const saw = answeredBy(each);
        expect(saw.path).toBe(each.path);
        expect(each.headers.join(), 'what the client got').not.toMatch(OURS);
        expect(Object.keys(saw.headers).join(), 'what the application saw').not.toMatch(OURS);

        const server = this.servers().find(({ name }) => name === saw.bookstore) as Pod;
        expect(client.get(each.path), each.path).toHaveLength(1);
        const [line] = client.get(each.path) as Line[];
        expect(line.host, each.path).toBe(`${server.address}:${each.port}`);
        expectToBe(line, server);

        // Where a sidecar is killed, a request may have to be tried twice; nowhere else.
        const lines = servers.flatMap(([at, log]) => (log.get(each.path) ?? []).map((line) => ({ at, line })));
        const at = lines.map(({ at }) => at.name);
        if (!this.killed) expect(at, each.path).toEqual([server.name]);
        else if (server !== this.killed) expect(at, each.path).toContain(server.name);
        for (const { line } of lines) expectToBe(line, pod);
      }
    }
  }

  private servers(): Pod[] {
    return [this.mesh.pods['bookstore-v1'], this.mesh.pods['bookstore-v2']];
  }
}

const OURS = /x-istio-peer/i;

// biome-ignore lint/suspicious/noExplicitAny: any JSON object
type Line = any;

function byPath(pod: Pod): Map<string, Line[]> {
  const lines = new Map<string, Line[]>();
  for (const line of pod.log()) lines.set(line.path, [...(lines.get(line.path) ?? []), line]);
  return lines;
}

/** Expects the other side of a request to be this pod, by its claim and by its certificate. */
function expectToBe(line: Line, pod: Pod): void {
  expect(line.certificate, line.path).toBe(pod.spiffe);
  const says = pod.identities.find(({ id }) => id === line.peer_id);
  if (!says) throw new Error(`${line.path}: ${pod.name} is taken for ${line.peer_id}`);
  expect(line.peer_name, line.path).toBe(says.metadata.NAME);
  // Some chains are told to say less than all.
  expect(says.metadata, line.path).toMatchObject(line.peer.value);
  expect(Object.keys(line.peer.value), line.path).toEqual(
    expect.arrayContaining(['NAME', 'NAMESPACE', 'SERVICE_ACCOUNT']),
  );
}
