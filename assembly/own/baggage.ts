// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { ABSENT, Message, PRESENT, replace } from '../host/headers';
import { BAGGAGE_HEADER } from '../host/names';
import { Slice, slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { HEADERS_SENT } from '../metrics/table';
import { hasWorkload, removeWorkload } from '../wire/baggage';

/** The method `baggage`: we say who we are in a message's W3C baggage, beside what others have in it. */

const list = slice(memory.data(8, 4));
const EVERYTHING: u32 = 0xffffffff;

/**
 * Puts what we are behind what others say, in place of what any workload said of itself there: the client of our client,
 * passed on by the application, or we ourselves in an earlier try. Baggage that is too large to be fetched is left as
 * it is.
 */
export function writeOwnBaggage(message: Message, own: Slice): void {
  if (own.size == 0) return;
  const found = message.findList(BAGGAGE_HEADER, list, EVERYTHING, own.size + 1);
  if (found == PRESENT) {
    removeWorkload(list);
    if (list.size > 0) {
      store<u8>(list.end(), 0x2c);
      list.size++;
    }
    memory.copy(list.end(), own.at, own.size);
    list.size += own.size;
    replace(message.map, BAGGAGE_HEADER, list);
  } else if (found == ABSENT) {
    replace(message.map, BAGGAGE_HEADER, own);
  } else return;
  count(HEADERS_SENT);
}

/** Takes back what an earlier run of the chain wrote, where the request goes to somebody whom we do not tell. */
export function removeOwnBaggage(request: Message): void {
  if (request.findList(BAGGAGE_HEADER, list, EVERYTHING, 0) != PRESENT) return;
  const size = list.size;
  removeWorkload(list);
  if (list.size < size) replace(request.map, BAGGAGE_HEADER, list);
}

/** Whether a client says in its request's baggage who it is: then it may want to know who we are. */
export function saysWorkload(request: Message): bool {
  return request.findList(BAGGAGE_HEADER, list, EVERYTHING, 0) == PRESENT && hasWorkload(list);
}
