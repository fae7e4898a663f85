// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * A queue of records, each with a place in it as a part of the record. What waits for the same time stands in the order
 * in which it is due. Whoever leaves early leaves in constant time.
 */

/** A record's place in a queue. All 0: it is in none. */
@unmanaged
export class Place {
  /** The places before and behind it. */
  previous: usize;
  next: usize;
  /** Whose place this is. */
  record: usize;
  /** When it is due, in seconds since 1970; 0: it is in no queue. */
  due: u32;
}

/** Bytes that a Place and a Queue take. */
export const PLACE_SIZE: usize = offsetof<Place>();
export const QUEUE_SIZE: usize = offsetof<Queue>();

/** All 0: an empty queue. */
@unmanaged
export class Queue {
  private first: usize;
  private last: usize;

  /** Puts a record at the end, unless it is in the queue already. */
  add(place: Place, record: usize, due: u32): void {
    if (place.due) return;
    const at = changetype<usize>(place);
    place.record = record;
    place.due = due;
    place.next = 0;
    place.previous = this.last;
    if (this.last) changetype<Place>(this.last).next = at;
    else this.first = at;
    this.last = at;
  }

  /** Takes a record out, if it is in the queue. */
  remove(place: Place): void {
    if (!place.due) return;
    place.due = 0;
    if (place.previous) changetype<Place>(place.previous).next = place.next;
    else this.first = place.next;
    if (place.next) changetype<Place>(place.next).previous = place.previous;
    else this.last = place.previous;
  }

  isEmpty(): bool {
    return this.first == 0;
  }

  /** Takes out the first record, if it is due by a time; 0: none is. */
  takeDue(time: u32): usize {
    if (!this.first) return 0;
    const place = changetype<Place>(this.first);
    if (place.due > time) return 0;
    this.remove(place);
    return place.record;
  }
}
