// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'fflate';
import { pack } from 'tar-stream';
import { sha256 } from '../../testkit/sha256.ts';

/**
 * A container image with nothing in it but a Wasm module, as a folder in the OCI image layout: what `FROM scratch` and
 * `COPY plugin.wasm ./` would make, which is the "compat" variant of the Wasm image specification. Istio's agent takes
 * the last layer, and in it the file of this name.
 *
 *   index.json ──▶ manifest ──┬──▶ configuration   labels
 *                 annotations └──▶ layer           a tar of plugin.wasm, compressed
 *
 * There is one manifest and no index of platforms: Istio's agent takes an index only if it finds linux/amd64 in it, and
 * not by digest. Nothing here depends on when or where it is made, so that the same module makes the same digest.
 */

const FILE = 'plugin.wasm';
const EPOCH = new Date(0);

export interface Image {
  module: Uint8Array;
  /** Labels of the configuration, and annotations of the manifest, but for those that say what the layer is. */
  labels: Record<string, string>;
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** Writes the image's layout into a folder, in place of what is there; the answer is the manifest's digest. */
export async function writeLayout(folder: string, { module, labels }: Image): Promise<string> {
  rmSync(folder, { recursive: true, force: true });
  const blobs = join(folder, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });

  const write = (content: Uint8Array | object, mediaType: string): Descriptor => {
    const bytes = content instanceof Uint8Array ? content : json(content);
    const hex = sha256(bytes);
    writeFileSync(join(blobs, hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };

  const tar = await archive(module);
  // A compressor of our own, at a version that the lock file pins: zlib's output differs between processors.
  const layer = write(gzipSync(tar, { level: 9, mtime: 0 }), 'application/vnd.oci.image.layer.v1.tar+gzip');
  const config = write(
    {
      created: EPOCH.toISOString(),
      // Not true of Wasm, but what tools expect that do not know it: Istio's documentation builds its images like this.
      architecture: 'amd64',
      os: 'linux',
      config: { Labels: labels },
      rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(tar)}`] },
      history: [{ created: EPOCH.toISOString(), created_by: `COPY ${FILE} ./` }],
    },
    'application/vnd.oci.image.config.v1+json',
  );
  const manifest = write(
    {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config,
      layers: [layer],
      annotations: { ...labels, 'module.wasm.image/variant': 'compat' },
    },
    'application/vnd.oci.image.manifest.v1+json',
  );
  writeFileSync(join(folder, 'index.json'), json({ schemaVersion: 2, manifests: [manifest] }));
  writeFileSync(join(folder, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  return manifest.digest;
}

async function archive(module: Uint8Array): Promise<Uint8Array> {
  const tar = pack();
  tar.entry({ name: FILE, mode: 0o644, uid: 0, gid: 0, mtime: EPOCH }, Buffer.from(module));
  tar.finalize();
  return buffer(tar);
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
