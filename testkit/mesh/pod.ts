// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { type Authority, type Certificate, fingerprintOf, spiffe } from '../envoy/certificates.ts';
import { Envoy } from '../envoy/process.ts';

/** The sidecar's own traffic is known by its group: see init-iptables.sh. */
const SIDECAR_GROUP = '1500';

/** What a proxy says of itself. */
export interface Says {
  id: string;
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  metadata: Record<string, any>;
}

/** A pod of the mesh: its files, and its sidecar, which reads them again when they are replaced. */
export class Pod {
  /** What its sidecars said of themselves so far: another pod may get the address of one that ended. */
  readonly identities: Says[] = [];
  /** The name in its certificate. */
  readonly spiffe: string;
  /** The certificate that it shows. */
  certificate!: Certificate;
  private readonly sidecars: Envoy[] = [];
  private volumes = 0;
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  private readonly lines: any[] = [];
  private readonly logRead = new Map<Envoy, number>();

  constructor(
    readonly name: string,
    readonly address: string,
    private readonly folder: string,
    private readonly inside: string[],
    private readonly drainSeconds = 600,
  ) {
    this.readIdentity();
    this.spiffe = spiffe(this.says.metadata.NAMESPACE, this.says.metadata.SERVICE_ACCOUNT);
  }

  /** What its sidecar says of itself. */
  get says(): Says {
    return this.identities.at(-1) as Says;
  }

  /** The next sidecar to start is that of another pod of the same workload, at the same address. */
  replace(name: string): void {
    const path = join(this.folder, 'bootstrap.yaml');
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll(this.says.metadata.NAME, name));
    this.readIdentity();
  }

  private readIdentity(): void {
    const { node } = parse(readFileSync(join(this.folder, 'bootstrap.yaml'), 'utf8'));
    this.identities.push({ id: node.id, metadata: node.metadata['istio.io/metadata'] });
  }

  /** The sidecar that runs now. */
  get sidecar(): Envoy {
    const last = this.sidecars.at(-1);
    if (!last) throw new Error(`${this.name} has no sidecar yet`);
    return last;
  }

  /** Starts the sidecar; at a hot restart it takes over from the one that runs. */
  async start(how: 'cold' | 'hot' = 'cold'): Promise<void> {
    const config = parse(readFileSync(join(this.folder, 'bootstrap.yaml'), 'utf8'));
    const runner = [...this.inside, 'setpriv', '--regid', SIDECAR_GROUP, '--clear-groups'];
    const successorOf = how === 'hot' ? this.sidecar : undefined;
    const { name, folder, drainSeconds } = this;
    const options = { name, folder, runner, drainSeconds, drainAtOnce: true, successorOf };
    this.sidecars.push(await Envoy.start(config, options));
    // An Envoy without listeners is live, too.
    if ((await this.sidecar.stat('listener_manager.lds.update_rejected')) > 0)
      throw new Error(`${name} refused its listeners:\n${this.sidecar.log().slice(-4000)}`);
  }

  async stop(): Promise<void> {
    await Promise.all(this.sidecars.map((each) => each.stop()));
  }

  /** The fingerprint of the certificate that it shows. */
  get fingerprint(): string {
    return fingerprintOf(this.certificate);
  }

  /** A resource as it is now: a file of YAML. */
  read(file: string): string {
    return readFileSync(join(this.folder, 'xds', file), 'utf8');
  }

  /** Adds a resource, or replaces it, as a control plane would: the file is moved into place. */
  add(file: string, text: string): void {
    const next = join(this.folder, 'next');
    writeFileSync(next, text);
    renameSync(next, join(this.folder, 'xds', file));
  }

  /** Changes a resource. */
  update(file: string, edit: (text: string) => string): void {
    const old = this.read(file);
    const edited = edit(old);
    if (edited === old) throw new Error(`${file} of ${this.name} is as before`);
    this.add(file, edited);
  }

  /** Gives the sidecar a new certificate and these roots to believe in, all at once: as Kubernetes mounts secrets. */
  showCertificate(authority: Authority, roots: Buffer): void {
    const volume = String(++this.volumes);
    const certs = join(this.folder, 'certs');
    mkdirSync(join(certs, volume), { recursive: true });
    this.certificate = authority.issue('service', { uris: [this.spiffe] }, join(certs, volume));
    writeFileSync(join(certs, volume, 'root.crt'), roots);
    symlinkSync(volume, join(certs, 'next'));
    renameSync(join(certs, 'next'), join(certs, 'current'));
  }

  /** All access log lines so far, those of sidecars that ended too. */
  // biome-ignore lint/suspicious/noExplicitAny: any JSON object
  log(): any[] {
    // Read once only: who waits for a line asks often.
    for (const sidecar of this.sidecars) {
      const text = sidecar.log();
      const end = text.lastIndexOf('\n') + 1;
      const lines = text.slice(this.logRead.get(sidecar) ?? 0, end).split('\n');
      this.logRead.set(sidecar, end);
      this.lines.push(...lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)));
    }
    return this.lines;
  }
}
