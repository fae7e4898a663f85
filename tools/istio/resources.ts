// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** What the shipped resources say in place of an image, and of its digest. */
const IMAGE = /ghcr\.io\/OWNER\/metadata-exchange:[\w.-]+/g;
const DIGEST = /(url: (?:oci:\/\/)?ghcr\.io\/OWNER\/.*\n(?: +#.*\n)* +sha256: )""/g;

/** Writes resources, those of envoy/istio or of `from`, into a folder, in place of what is there, with this image. */
export function writeResources(folder: string, image: string, digest: string, from = 'envoy/istio'): void {
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(ROOT, from), folder, { recursive: true });
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.yaml')) continue;
    const path = join(folder, file);
    const text = readFileSync(path, 'utf8').replace(DIGEST, `$1${digest.replace('sha256:', '')}`);
    writeFileSync(path, text.replaceAll(IMAGE, image));
  }
}
