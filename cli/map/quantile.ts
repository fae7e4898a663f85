// SPDX-License-Identifier: Apache-2.0

/** A histogram: how many values there are up to a bound, by the bound. Infinity is one of them. */
export type Buckets = Map<number, number>;

/**
 * The value that this part of all values does not exceed, as Prometheus' `histogram_quantile` estimates it: values are
 * taken to lie evenly in their bucket. Beyond the last bound it is that bound. null if there is no value.
 */
export function quantile(part: number, buckets: Buckets): number | null {
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const total = buckets.get(Number.POSITIVE_INFINITY) ?? 0;
  if (!(total > 0)) return null;
  const rank = part * total;
  let [below, lower] = [0, 0];
  for (const bound of bounds) {
    // Where proxies have different bounds a sum may be smaller than the one before it.
    const upTo = Math.max(below, buckets.get(bound) ?? 0);
    if (upTo >= rank && upTo > below) {
      if (bound === Number.POSITIVE_INFINITY) return lower;
      return lower + ((bound - lower) * (rank - below)) / (upTo - below);
    }
    [below, lower] = [upTo, bound];
  }
  return lower;
}
