// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What Envoy is told by a control plane, and what type that has. */
const TYPES = {
  lds: 'envoy.config.listener.v3.Listener',
  cds: 'envoy.config.cluster.v3.Cluster',
  ecds: 'envoy.config.core.v3.TypedExtensionConfig',
  rds: 'envoy.config.route.v3.RouteConfiguration',
};

/** Files of configuration that a running Envoy watches, in the place of a control plane. */
export class ConfigFiles implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'watched-'));

  /** Writes all that there is of one kind from now on. */
  write(kind: keyof typeof TYPES, resources: object[]): void {
    const typed = resources.map((each) => ({ '@type': `type.googleapis.com/${TYPES[kind]}`, ...each }));
    // Envoy watches for files that are moved into place.
    writeFileSync(join(this.folder, 'next.json'), JSON.stringify({ resources: typed }));
    renameSync(join(this.folder, 'next.json'), this.path(kind));
  }

  /** A ConfigSource: where Envoy finds them. */
  source(kind: keyof typeof TYPES): object {
    return { resource_api_version: 'V3', path_config_source: { path: this.path(kind) } };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }

  private path(kind: string): string {
    return join(this.folder, `${kind}.json`);
  }
}
