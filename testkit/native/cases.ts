// SPDX-License-Identifier: Apache-2.0
import type { Case } from './case.ts';
import { ANSWERS, CONFIGURATIONS } from './configuring.ts';
import { CLIENTS, SERVERS } from './hearing.ts';
import { BAGGAGE_WRITTEN, TELLING } from './telling.ts';

/** All cases, as the page groups them. */

export interface Group {
  title: string;
  cases: Case[];
}

export const GROUPS: Group[] = [
  { title: 'What a proxy says of itself', cases: TELLING },
  { title: 'In baggage', cases: BAGGAGE_WRITTEN },
  { title: 'Who the client is', cases: CLIENTS },
  { title: 'Who the server is', cases: SERVERS },
  { title: 'Who is answered', cases: ANSWERS },
  { title: 'What a configuration may hold', cases: CONFIGURATIONS },
];
