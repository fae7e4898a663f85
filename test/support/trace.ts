// SPDX-License-Identifier: Apache-2.0

/**
 * What passed between Envoy and the module, from Envoy's own log at `wasm:trace`: one line a call, the host's calls
 * into the module at the left, and what is called from inside a call further right. Addresses are left out, sizes and
 * other numbers too: only `proxy_get_header_map_value(request)` and the like keep what they are about.
 */
export function calls(log: string): string[] {
  const lines: string[] = [];
  let depth = 0;
  for (const [, direction, call] of log.matchAll(
    /\[wasm\] \[[^\]]*\] \[(host->vm|vm->host|host<-vm|vm<-host)\] (.*)/g,
  )) {
    if (direction === 'host<-vm' || direction === 'vm<-host') {
      depth--;
      continue;
    }
    const [, name, args] = /^(?:env\.)?(\w+)\((.*)\)$/.exec(call) ?? ['', call, ''];
    const map = name.includes('header_map') ? `(${args.startsWith('0') ? 'request' : 'response'})` : '';
    lines.push('  '.repeat(depth) + name + map);
    depth++;
  }
  return lines;
}
