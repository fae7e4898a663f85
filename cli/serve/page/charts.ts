// SPDX-License-Identifier: Apache-2.0
import type { Numbers } from '../snapshot.ts';
import { h, s } from './dom.ts';
import { clock } from './words.ts';

/** Small charts of the last minutes. */

const [WIDTH, HEIGHT] = [420, 54];

export interface Line {
  what: string;
  /** null: nobody knows. */
  of: (numbers: Numbers) => number | null;
  words: (numbers: Numbers) => string;
  isBad?: boolean;
}

/** A chart with its newest value, and in words for whoever cannot see it. */
export function chart(moments: Numbers[], { what, of, words, isBad }: Line): HTMLElement {
  const last = moments.at(-1);
  const known = moments.filter((each) => of(each) !== null);
  const value = (each: Numbers) => of(each) ?? 0;
  const highest = known.reduce((most, each) => (value(each) > value(most) ? each : most), known[0]);
  const lowest = known.reduce((least, each) => (value(each) < value(least) ? each : least), known[0]);
  const caption = h('figcaption', {}, h('span', {}, what), h('strong', {}, last ? words(last) : '-'));
  if (!highest || !last) return h('figure', { class: 'chart' }, caption);
  const span = Math.max(1, last.at - moments[0].at);
  const most = value(highest) || 1;
  const x = ({ at }: Numbers) => (((at - moments[0].at) / span) * WIDTH).toFixed(1);
  const y = (each: Numbers) => (HEIGHT - 3 - (value(each) / most) * (HEIGHT - 8)).toFixed(1);
  // A gap where nobody knows.
  const parts = moments.map((each, i) => {
    if (of(each) === null) return '';
    return `${i > 0 && of(moments[i - 1]) !== null ? 'L' : 'M'}${x(each)} ${y(each)}`;
  });
  const label = `${what} since ${clock(moments[0].at)}: lowest ${words(lowest)}, highest ${words(highest)}, now ${words(last)}`;
  const picture = s(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label, preserveAspectRatio: 'none' },
    s('path', { class: 'base', d: `M0 ${HEIGHT - 2.5}H${WIDTH}` }),
    s('path', { class: 'curve', d: parts.join('') }),
  );
  const range = h('span', { class: 'range' }, `${words(lowest)} to ${words(highest)}`);
  caption.insertBefore(range, caption.lastChild);
  return h('figure', { class: `chart ${isBad ? 'bad' : ''}` }, caption, picture);
}
