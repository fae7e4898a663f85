// SPDX-License-Identifier: Apache-2.0
import { Agent, get } from 'node:http';

// An application that knows nothing of the mesh: `node shopper.mjs HOST PATH PORT...` asks for PATH/0, PATH/1, … at these
// ports in turn, on old connections and new ones, until its standard input ends. One JSON line an answer.
const [host, path, ...ports] = process.argv.slice(2);
const kept = new Agent({ keepAlive: true, maxSockets: 4 });
let count = 0;
let open = 0;

function ask() {
  const n = count++;
  // Some are under way for long: whatever changes, changes in the midst of them.
  const wait = n % 7 ? '' : '?wait=400';
  const agent = n % 3 && !wait ? kept : false;
  const request = { host, port: ports[n % ports.length], path: `${path}/${n}${wait}`, agent };
  const done = (outcome) => {
    open--;
    console.log(JSON.stringify({ path: request.path, port: request.port, ...outcome }));
  };
  open++;
  get(request, async (response) => {
    let body = '';
    try {
      for await (const chunk of response) body += chunk;
      done({ status: response.statusCode, headers: response.rawHeaders, body });
    } catch (error) {
      done({ error: String(error) });
    }
  }).on('error', (error) => done({ error: String(error) }));
}

// Nobody waits for more than so many answers.
const clock = setInterval(() => open < 20 && ask(), 20);
process.stdin.on('end', () => {
  clearInterval(clock);
  const end = setInterval(() => {
    if (open > 0) return;
    clearInterval(end);
    kept.destroy();
  }, 10);
});
process.stdin.resume();
