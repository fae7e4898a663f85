// SPDX-License-Identifier: Apache-2.0
import type { Numbers } from './snapshot.ts';

/** The numbers of edges over the last minutes, in bounded memory: peers may invent as many workloads as they like. */

/** How long an edge is remembered of which nobody tells any more, and its numbers. */
export const MINUTES = 5;
const MOST_AGE = MINUTES * 60_000;
const MOST_EDGES = 2_000;
/** With more edges than this each has fewer moments: all together there are as many as these edges have. */
const FULL_EDGES = 500;
const LEAST_MILLISECONDS = 1_000;

export class History {
  private readonly edges = new Map<string, Numbers[]>();

  /** Whether there is room for one more, or it is there already. */
  hasRoomFor(edge: string): boolean {
    return this.edges.has(edge) || this.edges.size < MOST_EDGES;
  }

  add(edge: string, numbers: Numbers): void {
    const moments = this.edges.get(edge) ?? [];
    this.edges.set(edge, moments);
    const apart = LEAST_MILLISECONDS * Math.max(1, this.edges.size / FULL_EDGES) * 0.9;
    const before = moments.at(-2);
    // The newest one is always there: it takes the place of one that is too close to the one before.
    if (before && numbers.at - before.at < apart) moments.pop();
    moments.push(numbers);
    while (numbers.at - moments[0].at > MOST_AGE) moments.shift();
  }

  of(edge: string): Numbers[] {
    return this.edges.get(edge) ?? [];
  }

  clear(): void {
    this.edges.clear();
  }

  /** Forgets edges that nobody told of for so long. */
  forget(now: number): void {
    for (const [edge, moments] of this.edges) {
      if (now - (moments.at(-1)?.at ?? 0) > MOST_AGE) this.edges.delete(edge);
    }
  }

  has(edge: string): boolean {
    return this.edges.has(edge);
  }
}
