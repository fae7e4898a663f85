// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOKSTORE, OpenServiceMesh } from '../testkit/mesh/open_service_mesh.ts';

/** `make mesh`: the mesh of envoy/open-service-mesh runs until Ctrl-C, and shows what its sidecars log. */

// Before anything is made that has to be removed.
let running = true;
void Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]).then(() => {
  running = false;
});

await using mesh = await OpenServiceMesh.start({ prefix: 'osm' }).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
const pods = Object.values(mesh.pods);
for (const { name, address } of pods) console.log(`${name.padEnd(14)}${address}`);
console.log(`
The mesh runs; Ctrl-C ends it. Pods' files are in ${mesh.folder}. In another shell:

    ip netns exec osm-bookbuyer curl http://${BOOKSTORE}:14001/books

What the sidecars log: path, who was on the other side, and what its certificate says.
`);
const shown = new Map(pods.map((pod) => [pod, 0]));
for (; running; await sleep(200)) {
  for (const pod of pods) {
    const log = pod.log();
    for (const { path, peer_name, certificate } of log.slice(shown.get(pod))) {
      console.log(`${pod.name.padEnd(14)}${path}   ${peer_name}   ${certificate}`);
    }
    shown.set(pod, log.length);
  }
}
