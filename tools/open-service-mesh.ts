// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { BOOKSTORE, OpenServiceMesh } from './mesh/open_service_mesh.ts';

/** `make mesh`: the mesh of envoy/open-service-mesh runs until Ctrl-C, for its README. */

// Before anything is made that has to be removed.
const ended = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
await using mesh = await OpenServiceMesh.start({ prefix: 'osm' });
for (const { name, address } of Object.values(mesh.pods)) console.log(`${name.padEnd(14)}${address}`);
console.log(`
The mesh runs; Ctrl-C ends it. Pods' files and logs are in ${mesh.folder}. In another shell:

    ip netns exec osm-bookbuyer curl http://${BOOKSTORE}:14001/books
`);
await ended;
