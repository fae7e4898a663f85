// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';

// The application: says who it is, and which headers it saw. `node bookstore.mjs NAME ADDRESS PORT...`
const [name, address, ...ports] = process.argv.slice(2);
for (const port of ports) {
  const server = createServer((request, response) => {
    response.setHeader('x-bookstore', name);
    response.end(`${JSON.stringify({ bookstore: name, port, path: request.url, headers: request.headers })}\n`);
  });
  // Sidecars keep connections: to close an idle one is to lose the request that is just on its way.
  server.keepAliveTimeout = 0;
  server.listen(Number(port), address, () => console.log(`listening at ${port}`));
}
