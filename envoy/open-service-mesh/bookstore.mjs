// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';

// The application: says who it is, and which headers it saw; after a while, where the path ends in ?wait=MILLISECONDS.
// `node bookstore.mjs NAME ADDRESS PORT...`
const [name, address, ...ports] = process.argv.slice(2);
for (const port of ports) {
  const server = createServer((request, response) => {
    response.setHeader('x-bookstore', name);
    const answer = { bookstore: name, port, path: request.url, headers: request.headers };
    const wait = Number(/\?wait=(\d+)$/.exec(request.url)?.[1] ?? 0);
    setTimeout(() => response.end(`${JSON.stringify(answer)}\n`), wait);
  });
  // Sidecars keep connections: to close an idle one is to lose the request that is just on its way.
  server.keepAliveTimeout = 0;
  server.listen(Number(port), address, () => console.log(`listening at ${port}`));
}
