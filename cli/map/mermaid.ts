// SPDX-License-Identifier: Apache-2.0
import type { Peer, ServiceMap } from './edges.ts';
import { errorsOf, naming, requestsOf, timeOf } from './words.ts';

/**
 * A text as a label of mermaid's, between quotes. All but letters, digits and a few signs is written as mermaid's
 * entities, `#60;` for `<`: so no name ends its label, is Markdown or HTML, or begins a directive.
 */
function label(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N} ._/-]/gu, (character) => `#${character.codePointAt(0)};`);
}

/** The map as a flowchart of mermaid's, which GitHub and many others draw: https://mermaid.js.org */
export function mermaid(map: ServiceMap): string {
  const nameOf = naming(map);
  const ids = new Map<string, string>();
  const lines = ['flowchart LR'];
  const idOf = (peer: Peer) => {
    const key = JSON.stringify([peer.kind, peer.namespace, peer.name]);
    const known = ids.get(key);
    if (known) return known;
    const id = `n${ids.size}`;
    ids.set(key, id);
    lines.push(`  ${id}["${label(nameOf(peer))}"]`);
    return id;
  };
  const edges = map.edges.map((edge) => {
    const words = [requestsOf(edge), `${errorsOf(edge)} errors`, `p99 ${timeOf(edge.p99)}`].map(label).join(', ');
    return `  ${idOf(edge.source)} -->|"${words}"| ${idOf(edge.destination)}`;
  });
  return [...lines, ...edges].join('\n');
}
