// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { readFlags, text } from '../../testkit/flags.ts';
import { writeResources } from '../istio/resources.ts';

/**
 * `make push IMAGE=registry/name:tag`: pushes build/image, and writes Istio's resources for it to build/istio, and
 * Envoy Gateway's to build/envoy-gateway. The registry's password is the one of `docker login` or `crane auth login`.
 */
const { image = '', crane = join(ROOT, '.cache/go/crane') } = readFlags({
  call: 'tsx tools/image/push.ts',
  about: 'Pushes build/image to a registry, and writes Istio’s and Envoy Gateway’s resources with its digest to build.',
  flags: {
    image: text('where to: registry.example.com/name:tag'),
    crane: text('another crane than the pinned one'),
  },
}).flags;

const LAYOUT = join(ROOT, 'build/image');
const RESOURCES = 'build/istio';

if (!/^[^/@\s]+\/[^@\s]+:[^/@\s]+$/.test(image)) {
  console.error('IMAGE must say where to: make push IMAGE=registry.example.com/some/name:tag');
  process.exit(1);
}

try {
  execFileSync(crane, ['push', LAYOUT, image], { stdio: ['ignore', 'ignore', 'inherit'] });
} catch {
  process.exit(1);
}
const { digest } = JSON.parse(readFileSync(join(LAYOUT, 'index.json'), 'utf8')).manifests[0];
writeResources(join(ROOT, RESOURCES), image, digest);
writeResources(join(ROOT, 'build/envoy-gateway'), image, digest, 'envoy/envoy-gateway');
console.log(`==> pushed ${image}@${digest}`);
console.log(
  `==> ${RESOURCES}: the resources of envoy/istio with this image; kubectl apply -f ${RESOURCES}/wasmplugin.yaml`,
);
