// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { expect, onTestFinished, test } from 'vitest';
import { sha256 } from '../../testkit/sha256.ts';
import { writeLayout } from '../../tools/image/layout.ts';

const MODULE = Buffer.from('any bytes');
const LABELS = { 'org.opencontainers.image.version': '1.2.3' };
/** Changes only when the form of the image does: then every release built again has another digest than published. */
const DIGEST = 'sha256:1fcc4d0df3a693082007293c9f08b2cdd71beeb8d28eacbbd8ffd52cd8c74042';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'layout-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

// biome-ignore lint/suspicious/noExplicitAny: any JSON object
function json(path: string, descriptor: { digest: string }): any {
  return JSON.parse(blob(path, descriptor).toString());
}

function blob(path: string, { digest }: { digest: string }): Buffer {
  return readFileSync(join(path, 'blobs', digest.replace(':', '/')));
}

test('the same module makes the same digest, on any machine', async () => {
  const digest = await writeLayout(folder(), { module: MODULE, labels: LABELS });
  expect(digest).toBe(DIGEST);
  expect(await writeLayout(folder(), { module: MODULE, labels: LABELS })).toBe(digest);
  expect(await writeLayout(folder(), { module: Buffer.from('other'), labels: LABELS })).not.toBe(digest);
});

test('one manifest with one layer, which has the module as plugin.wasm', async () => {
  const path = folder();
  const digest = await writeLayout(path, { module: MODULE, labels: LABELS });
  const index = JSON.parse(readFileSync(join(path, 'index.json'), 'utf8'));
  expect(index.manifests).toEqual([expect.objectContaining({ digest })]);
  const manifest = json(path, index.manifests[0]);
  expect(manifest.annotations).toEqual({ ...LABELS, 'module.wasm.image/variant': 'compat' });
  expect(json(path, manifest.config).config.Labels).toEqual(LABELS);
  expect(manifest.layers).toHaveLength(1);

  const tar = gunzipSync(blob(path, manifest.layers[0]));
  expect(json(path, manifest.config).rootfs.diff_ids).toEqual([`sha256:${sha256(tar)}`]);
  const files: [string, string][] = [];
  for await (const entry of extract().end(tar) as unknown as ReturnType<typeof extract>) {
    let content = '';
    for await (const chunk of entry) content += chunk;
    files.push([entry.header.name, content]);
  }
  expect(files).toEqual([['plugin.wasm', MODULE.toString()]]);
});

test('every blob is what its name says, and an image that was there before is gone', async () => {
  const path = folder();
  await writeLayout(path, { module: Buffer.from('before'), labels: {} });
  await writeLayout(path, { module: MODULE, labels: LABELS });
  const blobs = readdirSync(join(path, 'blobs/sha256'));
  expect(blobs).toHaveLength(3);
  for (const name of blobs) expect(sha256(readFileSync(join(path, 'blobs/sha256', name)))).toBe(name);
});
