// SPDX-License-Identifier: Apache-2.0

/** What is open: it stands in the page's address, so links are real links and the browser's “back” goes back. */

export interface Selection {
  kind: 'node' | 'edge';
  id: string;
}

export const linkTo = (kind: Selection['kind'], id: string) => `#${kind}=${encodeURIComponent(id)}`;

export function selected(): Selection | undefined {
  const [, kind, id] = /^#(node|edge)=(.+)$/.exec(location.hash) ?? [];
  if (!kind) return undefined;
  try {
    return { kind: kind as Selection['kind'], id: decodeURIComponent(id) };
  } catch {
    return undefined;
  }
}

/** Closes what is open. */
export function close(): void {
  if (location.hash) location.hash = '';
}
