// SPDX-License-Identifier: Apache-2.0
import { type Edge, mapOf, REQUESTS, TCP } from '../map/edges.ts';
import type { Sample } from '../map/samples.ts';
import { edgeId, nodeId } from './names.ts';

/**
 * Whether peers are still known who were known before. Both proxies count the same requests, each by what it has
 * learned of the other. So an exchange has ended where one side still counts what the other one no longer does, or
 * where somebody unknown takes the place of somebody known.
 */

/** The counters that this goes by: of TCP those of new connections, since what passes on old ones says nothing new. */
export const COUNTED: string[] = [REQUESTS, TCP.opened];

/** How long a known peer is not heard of, at least, before it counts as lost: two rounds of asking. */
const QUIET_MILLISECONDS = 1_800;
/** How many requests the other side, or an unknown peer, must have had meanwhile: some are always under way. */
const LEAST_MEANWHILE = 3;
/** How old what was seen may be. */
const MOST_AGE = 5 * 60_000;
/** A pause as long as this ends a run of requests. */
const PAUSE_MILLISECONDS = 10_000;

type Side = 'source' | 'destination';
const OTHER = { source: 'destination', destination: 'source' } as const;

/** What one side told of an edge. */
interface Story {
  side: Side;
  /** Nodes: who tells, and of whom. */
  observer: string;
  peer: string;
  isKnown: boolean;
  /** All that it grew. */
  total: number;
  /** When it grew last, and when it began to. */
  lastAt: number;
  runAt: number;
  runTotal: number;
  /** What the other side had counted by then. */
  otherAtLast: number;
}

/** One who no longer learns who another one is. */
export interface Lost {
  observer: string;
  peer: string;
  since: number;
}

export class Exchange {
  private readonly stories = new Map<string, Story>();

  /** What all grew since they were asked before. Of those who could not be asked nothing follows. */
  observe(now: number, grown: Sample[], standing: Sample[], silent: Set<string>): void {
    const options = { standing, byVersion: true };
    for (const side of ['source', 'destination'] as const) {
      const of = (samples: Sample[]) => samples.filter(({ labels }) => labels.reporter === side);
      for (const edge of mapOf(of(grown), 1, { ...options, standing: of(standing) }).edges) this.add(now, side, edge);
    }
    for (const [key, story] of this.stories) {
      if (silent.has(story.observer)) story.lastAt = now;
      // Not before both sides are counted.
      if (story.lastAt === now) story.otherAtLast = this.otherOf(key, story)?.total ?? 0;
      if (now - story.lastAt > MOST_AGE) this.stories.delete(key);
    }
  }

  private add(now: number, side: Side, edge: Edge): void {
    const { requests, connections } = edge;
    const traffic = connections?.opened ?? requests;
    if (traffic <= 0) return;
    const key = `${side} ${edgeId(edge)}`;
    const observer = nodeId(edge[side], side);
    const peer = nodeId(edge[OTHER[side]], OTHER[side]);
    const isKnown = edge[OTHER[side]].kind === 'workload';
    const fresh: Story = {
      ...{ side, observer, peer, isKnown },
      ...{ total: 0, lastAt: 0, runAt: now, runTotal: 0, otherAtLast: 0 },
    };
    const story = this.stories.get(key) ?? fresh;
    this.stories.set(key, story);
    if (now - story.lastAt > PAUSE_MILLISECONDS) [story.runAt, story.runTotal] = [now, 0];
    story.total += traffic;
    story.runTotal += traffic;
    story.lastAt = now;
  }

  private otherOf(key: string, { side }: Story): Story | undefined {
    return this.stories.get(OTHER[side] + key.slice(side.length));
  }

  /** Who has lost whom. */
  lost(now: number): Lost[] {
    const found: Lost[] = [];
    const unknown = [...this.stories.values()].filter(({ isKnown }) => !isKnown);
    for (const [key, story] of this.stories) {
      const { side, observer, peer, isKnown, lastAt } = story;
      if (!isKnown || now - lastAt < QUIET_MILLISECONDS) continue;
      const other = this.otherOf(key, story);
      const isToldByOther = (other?.total ?? 0) - story.otherAtLast >= LEAST_MEANWHILE;
      const isReplaced = unknown.some(
        (each) =>
          each.side === side &&
          each.observer === observer &&
          each.runTotal >= LEAST_MEANWHILE &&
          Math.abs(each.runAt - lastAt) < QUIET_MILLISECONDS &&
          story.runTotal >= LEAST_MEANWHILE,
      );
      if (isToldByOther || isReplaced) found.push({ observer, peer, since: lastAt });
    }
    return found;
  }
}
