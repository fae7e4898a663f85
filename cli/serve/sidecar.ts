// SPDX-License-Identifier: Apache-2.0
import { reasonOf } from '../ask.ts';
import { increase, type Sample, type Series } from '../map/samples.ts';
import { countedBy } from '../map/sources.ts';
import type { Told } from './snapshot.ts';

/** One Envoy that is watched: what it counted in the last seconds, and whether it answers. */

/** Who does not answer in this time is silent: the page must say so within five seconds. */
const MOST_MILLISECONDS = 2_000;

interface Page {
  at: number;
  samples: Sample[];
}

export class Sidecar {
  /** Its newest page comes last. */
  private pages: Page[] = [];
  private readonly known: Series = new Map();
  /** Whether it has been asked only once. */
  private isNew = true;
  /** Since when it does not answer, and why; undefined while it does. */
  silent: { since: number; reason: string } | undefined;
  /** What is wrong with what it answers. */
  problem: string | undefined;
  /** What it says of itself; undefined until somebody has asked it. */
  told: Told | undefined;

  constructor(readonly address: string) {}

  /** Asks it once; pages older than these seconds are forgotten. */
  async ask(seconds: number): Promise<void> {
    try {
      const { samples, problem } = await countedBy(this.address, MOST_MILLISECONDS, this.known);
      const at = Date.now();
      this.problem = problem;
      // What it counted while it was silent is not of the last seconds.
      if (this.silent) this.pages = [];
      this.silent = undefined;
      this.isNew = this.isNew && this.pages.length === 0;
      this.pages.push({ at, samples });
      // The one that is just older than the time is where the time begins.
      while (this.pages.length > 2 && this.pages[1].at <= at - seconds * 1000) this.pages.shift();
    } catch (error) {
      this.silent ??= { since: Date.now(), reason: reasonOf(error) };
    }
  }

  /** Its counters as it told them last. */
  get standing(): Sample[] {
    return this.pages.at(-1)?.samples ?? [];
  }

  /** When it answered last. */
  get answeredAt(): number {
    return this.pages.at(-1)?.at ?? 0;
  }

  /** How much its counters grew in so many seconds, as if it had been asked exactly then; nothing while it is silent. */
  grown(seconds: number): Sample[] {
    const [first, last] = [this.pages[0], this.pages.at(-1)];
    if (this.silent || !last) return [];
    // What it counted before it was asked is not known; which edges there are is.
    if (first === last) return this.isNew ? last.samples.map((sample) => ({ ...sample, value: 0 })) : [];
    const scale = (seconds * 1000) / (last.at - first.at);
    return increase(first.samples, last.samples).map((sample) => ({ ...sample, value: sample.value * scale }));
  }

  /** How much some of its counters grew since the page before the last one. */
  grownOf(names: string[]): Sample[] {
    if (this.silent || this.pages.length < 2) return [];
    const [before, after] = this.pages
      .slice(-2)
      .map(({ samples }) => samples.filter(({ name }) => names.includes(name)));
    return increase(before, after);
  }
}
