// SPDX-License-Identifier: Apache-2.0
import type { State } from '../snapshot.ts';
import { s } from './dom.ts';

/** A sign for each state, in a field of 20 by 20: its form says what its colour says. */

const PATHS: Record<State, string> = {
  // Two arrows, there and back.
  exchanging: 'M5 7.6h9M11.2 4.8 14 7.6l-2.8 2.8M15 12.4H6M8.8 9.6 6 12.4l2.8 2.8',
  // A cross.
  silent: 'M6.5 6.5l7 7M13.5 6.5l-7 7',
  // An exclamation mark.
  lost: 'M10 5v6M10 14.2v.3',
  // Bars.
  counting: 'M6.5 13.5v-3M10 13.5v-7M13.5 13.5v-5',
  // A ring.
  unwatched: 'M10 10m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0',
  // A question mark.
  unknown: 'M7.4 7.8a2.6 2.6 0 1 1 3.8 2.4c-.8.4-1.2.9-1.2 1.8M10 14.6v.2',
};

/** The sign, which a screen reader passes over: words say the same. */
export function icon(state: State): SVGGElement {
  const background = state === 'lost' ? s('path', { d: 'M10 .8 20 18.6H0z' }) : s('circle', { cx: 10, cy: 10, r: 9.5 });
  const sign = s('path', { class: 'sign', d: PATHS[state] });
  if (state === 'lost') sign.setAttribute('transform', 'translate(0 2)');
  background.setAttribute('class', 'disc');
  return s('g', { class: `icon ${state}`, 'aria-hidden': 'true' }, background, sign);
}

/** The same as a picture of its own. */
export function picture(state: State): SVGSVGElement {
  return s('svg', { viewBox: '-1 -1 22 22', width: 20, height: 20, 'aria-hidden': 'true' }, icon(state));
}
