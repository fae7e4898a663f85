// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { readFlags, text } from '../../testkit/flags.ts';
import { sha256 } from '../../testkit/sha256.ts';
import { writeLayout } from './layout.ts';

/**
 * `make image`: the module as an image, in build/image. A release says where it comes from. What this clone says of
 * itself is not asked: the same sources make the same digest, wherever they were cloned.
 */
const { sourceUrl, sourceRevision } = readFlags({
  call: 'tsx tools/image/build.ts',
  about: 'Makes a container image of the built module: build/image, in the OCI image layout.',
  flags: {
    sourceUrl: text('where the sources are, for the image’s labels'),
    sourceRevision: text('their commit, for the image’s labels'),
  },
}).flags;

const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const FOLDER = 'build/image';

/** What the OCI specification calls pre-defined annotations. */
function labels(): Record<string, string> {
  const all = {
    title: PACKAGE.name,
    description: PACKAGE.description,
    version: PACKAGE.version,
    licenses: PACKAGE.license,
    source: sourceUrl,
    revision: sourceRevision,
  };
  const known = Object.entries(all).filter(([, value]) => value);
  return Object.fromEntries(known.map(([name, value]) => [`org.opencontainers.image.${name}`, value]));
}

const module = readFileSync(MODULE);
const digest = await writeLayout(join(ROOT, FOLDER), { module, labels: labels() });
console.log(`==> ${FOLDER}: ${digest}, the module in it sha256:${sha256(module)}`);
