// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync, watchFile } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { type Named, WorkloadServer } from '../../testkit/xds/server.ts';

/**
 * A small control plane in the place of istiod: it hands out the workloads of a file, and what changes there.
 *
 *     node_modules/.bin/tsx envoy/workload-discovery/control_plane.ts 15010
 */

/** The workloads of a YAML file; those beside this file unless told. */
export function workloadsOf(file = join(import.meta.dirname, 'workloads.yaml')): Named[] {
  return parse(readFileSync(file, 'utf8')) ?? [];
}

const [, script, port, file] = process.argv;
if (script === import.meta.filename) {
  let workloads = workloadsOf(file);
  const server = await WorkloadServer.start({ port: Number(port), workloads });
  console.log(`${workloads.length} workloads at port ${server.port}`);
  watchFile(file ?? join(import.meta.dirname, 'workloads.yaml'), { interval: 200 }, () => {
    const before = new Set(workloads.map(({ uid }) => uid));
    workloads = workloadsOf(file);
    for (const { uid } of workloads) before.delete(uid);
    server.replace(workloads, [...before]);
    console.log(`${workloads.length} workloads, ${before.size} are gone`);
  });
}
