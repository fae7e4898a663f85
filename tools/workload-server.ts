// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../testkit/envoy/binary.ts';
import { type Named, WorkloadServer } from '../testkit/xds/server.ts';

/**
 * A control plane for envoy/workload-discovery and envoy/waypoint-discovery: it tells proxies of the workloads in a
 * file, and of every change of the file.
 *
 *     node_modules/.bin/tsx tools/workload-server.ts 15020 [another-file.yaml]
 */

const WORKLOADS = join(ROOT, 'envoy/workload-discovery/workloads.yaml');

function read(file: string): Named[] {
  return parse(readFileSync(file, 'utf8'));
}

/** Serves the workloads of a file until it is disposed of. */
export async function serve(port: number, file = WORKLOADS): Promise<AsyncDisposable & { port: number }> {
  let known = read(file);
  const server = await WorkloadServer.start({ workloads: known, port });
  const update = () => {
    const before = known;
    known = read(file);
    const gone = before.filter(({ uid }) => !known.some((each) => each.uid === uid));
    server.replace(
      known,
      gone.map(({ uid }) => uid),
    );
  };
  watchFile(file, { interval: 200 }, update);
  return {
    port: server.port,
    async [Symbol.asyncDispose]() {
      unwatchFile(file, update);
      await server[Symbol.asyncDispose]();
    },
  };
}

if (process.argv[1] === import.meta.filename) await serve(Number(process.argv[2]), process.argv[3]);
