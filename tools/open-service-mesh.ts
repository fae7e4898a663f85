// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { OpenServiceMesh } from './mesh/open_service_mesh.ts';

/** `make mesh`: the mesh of envoy/open-service-mesh runs until Ctrl-C, for its README. */

await using mesh = await OpenServiceMesh.start({ prefix: 'osm' });
for (const pod of Object.values(mesh.pods)) console.log(`${pod.name.padEnd(14)}${pod.address}`);
console.log(`
The mesh runs, its files are in ${mesh.folder}. Ctrl-C ends it. In another shell:

    ip netns exec osm-bookbuyer curl http://10.96.0.20:14001/books`);
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
